"""Progress and cancellation of a build: the library's monitor on one side, a callback on the other."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

OnProgress = Callable[[str, float], None]
"""Told the phase and the share of the build that is done (0 to 1, never falling); called from a worker thread."""

T = TypeVar("T")


@dataclasses.dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Progress:
    """The phases of a build as one rising number, and the wish to stop it."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._tell = on_progress
        self._phases: dict[str, _Phase] = {}
        self._share = 0.0
        self._lock = threading.Lock()  # the library reports from several threads
        self._stop = threading.Event()
        self.error: BaseException | None = None
        """What the callback raised; the build was stopped for it."""

    @property
    def stopped(self) -> bool:
        """Whether the build is to end early."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Ends the build at its next step."""
        self._stop.set()

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins."""
        with self._lock:
            self._phases[name] = _Phase(parent, max(steps, 1))
        self._report(name)

    def step(self, name: str) -> bool:
        """A step of a phase is done; returns False when the build is to end."""
        with self._lock:
            if name in self._phases:
                self._phases[name].done += 1
        self._report(name)
        return not self.stopped

    def finish(self, name: str) -> None:
        """A phase ends."""
        with self._lock:
            self._phases.pop(name, None)

    def _report(self, name: str) -> None:
        with self._lock:
            share, phase, depth = 0.0, self._phases.get(name), 0
            while phase is not None and depth < 20:  # phase names are reused: never trust them to form no circle
                share = min((phase.done + share) / phase.steps, 1.0)
                phase, depth = self._phases.get(phase.parent or ""), depth + 1
            self._share = max(self._share, share)
            share = self._share
        try:
            self._tell(name, share)
        except BaseException as error:  # raising here would unwind through native frames
            self.error = error
            self.stop()


def monitor_of(module: Any, progress: Progress) -> Any:
    """An `IProgressMonitor` of that library which reports to `progress`. Keep it alive as long as the build."""

    class Monitor(module.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            progress.start(name, parent, steps)

        def step_complete(self, name: str, step: int) -> bool:
            return progress.step(name)

        def phase_finish(self, name: str) -> None:
            progress.finish(name)

    return Monitor()


def run_stoppable(work: Callable[[], T], progress: Progress) -> T:
    """Runs `work` on a thread of its own, so that Ctrl-C is heard here and not lost inside a native callback.

    Ctrl-C stops the build through `progress`, waits for the thread to end, and only then is raised: leaving earlier
    would tear the interpreter down under a native build, which aborts the process.

    Raises:
        Whatever `work` raised; the callback's own exception where it raised one; KeyboardInterrupt.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    finished = threading.Event()

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            finished.set()

    thread = threading.Thread(target=run, name="nafdeploy-build")
    with _interrupts_noted(progress) as interrupted:
        thread.start()
        while not finished.wait(0.1):  # not Thread.join: before Python 3.13 an interrupted one thinks it is done
            pass
        thread.join()
    if interrupted.is_set():
        raise KeyboardInterrupt
    if progress.error is not None:
        raise progress.error
    if errors:
        raise errors[0]
    return results[0]


@contextlib.contextmanager
def _interrupts_noted(progress: Progress) -> Iterator[threading.Event]:
    """Within the block Ctrl-C stops `progress` and sets the event; nothing is raised, so nothing is left half-way."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's affair
        yield interrupted
        return

    def note(*_: object) -> None:
        interrupted.set()
        progress.stop()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.SIG_DFL)
