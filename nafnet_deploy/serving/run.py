"""Starts the server and ends it well."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from nafnet_deploy.errors import MachineError, UsageError
from nafnet_deploy.manifest import Bundle
from nafnet_deploy.serving.app import make_app
from nafnet_deploy.serving.metrics import Metrics
from nafnet_deploy.serving.protocol import timed_protocol
from nafnet_deploy.serving.settings import Settings
from nafnet_deploy.serving.work import Workshop

_BACKLOG = 512
_LAST_WORDS = 1.0
"""How long the refusals of what was not finished may take to go out (s)."""


def serve(bundle: Bundle, host: str, port: int, settings: Settings, say: Callable[[str], None]) -> None:
    """Serves a model until SIGTERM or Ctrl-C; requests in work are finished first.

    What `settings.stop_seconds` do not suffice for is refused, and the process ends with exit code 0: nothing stops a
    network that runs in a thread.

    Args:
        bundle: what `find_bundle` returned.
        host: address to listen at.
        port: 0 for any that is free.
        settings: limits and engine.
        say: told where the server listens, once it does, and when it stops.

    Raises:
        MachineError: the port is in use or not allowed, or the address is not one of this machine.
        UsageError: an address or port that cannot be.
        ConfigError, MissingDependency, EngineError: see `Workshop`.
    """
    with (
        _listening(host, port) as listener,
        tempfile.TemporaryDirectory(prefix="nafdeploy-", ignore_cleanup_errors=True) as folder,
    ):
        metrics = Metrics()
        workshop = Workshop(bundle, settings, metrics)
        config = uvicorn.Config(
            make_app(bundle.manifest, workshop, settings, metrics, Path(folder)),
            http=timed_protocol(settings.idle_seconds),
            ws="none",
            lifespan="on",
            log_level="error",  # its warnings are what any client can cause, and advise wrongly
            access_log=False,
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=settings.stop_seconds,
        )
        address, port = listener.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        say(f"{bundle.manifest.name} on {workshop.engine}, N = {workshop.default}: http://{shown}:{port}/")
        if not address.startswith("127.") and address != "::1":
            say("anyone who reaches this address can use it: there is no password and no encryption")

        def leave() -> None:
            say("stopped")
            shutil.rmtree(folder, ignore_errors=True)
            sys.stderr.flush()
            os._exit(0)

        logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # its clients are told what is wrong
        with _quiet_end():
            _Server(config, settings.stop_seconds, leave).run(sockets=[listener])
        say("stopped")


class _Server(uvicorn.Server):
    """uvicorn's server, which ends in time.

    Args:
        config: uvicorn's.
        seconds: how long requests in work may take to finish.
        leave: ends the process, whatever its threads do.
    """

    def __init__(self, config: uvicorn.Config, seconds: float, leave: Callable[[], None]) -> None:
        super().__init__(config)
        self._seconds, self._leave = seconds, leave

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finishes what is in work, refuses what takes too long, and then leaves for certain."""
        began = time.monotonic()
        leaving = threading.Timer(self._seconds + _LAST_WORDS, self._leave)
        leaving.daemon = True
        leaving.start()
        await super().shutdown(sockets)
        if self.force_exit or time.monotonic() - began >= self._seconds:
            if self.server_state.tasks:
                await asyncio.wait(self.server_state.tasks)
            self._leave()  # a thread may be busy still, and the process would wait for it
        leaving.cancel()


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket, taken before the model is loaded: a port in use is told at once."""
    if not 0 <= port <= 65535:
        raise UsageError(f"the port {port} is impossible.", "Use 0 to 65535.")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(f"the address {host!r} is unknown.", "Use e.g. 127.0.0.1 or 0.0.0.0.") from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # a server that has just ended leaves its port behind for a minute
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                mend = f"Use another with --port {port + 1}, or --port 0 for any that is free."
                raise MachineError(f"the port {port} of {host} is in use.", mend) from error
            mend = "Use a port above 1023." if error.errno == errno.EACCES else "Use an address of this machine."
            raise MachineError(f"nobody can listen at {host}:{port}: {error.strerror}.", mend) from error
        yield listener
    finally:
        listener.close()


@contextmanager
def _quiet_end() -> Iterator[None]:
    """Lets SIGTERM and Ctrl-C end the server with exit code 0: uvicorn finishes its work, then raises them again."""
    former = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
