"""Callbacks that native code makes: they filter, count, cancel, and never raise."""

import logging
import threading
import time
from types import SimpleNamespace

import pytest
import tensorrt_rtx

from nafnet_deploy.engines.tensorrt_log import LOG, library_logger, listening
from nafnet_deploy.engines.tensorrt_progress import Progress, run_stoppable

SEVERITY = tensorrt_rtx.ILogger.Severity


def test_one_logger_serves_the_process() -> None:
    assert library_logger(tensorrt_rtx) is library_logger(tensorrt_rtx)
    assert isinstance(library_logger(tensorrt_rtx), tensorrt_rtx.ILogger)


def test_messages_reach_python_at_their_level_and_are_collected(caplog: pytest.LogCaptureFixture) -> None:
    logger = library_logger(tensorrt_rtx)
    with caplog.at_level(logging.INFO, logger=LOG.name), listening(tensorrt_rtx) as heard:
        logger.log(SEVERITY.VERBOSE, "chatter")
        logger.log(SEVERITY.INFO, "Total Activation Memory: 123 bytes")
        for _ in range(2):
            logger.log(SEVERITY.WARNING, "careful")
        logger.log(SEVERITY.INTERNAL_ERROR, "broken")
    logger.log(SEVERITY.ERROR, "after the block")
    assert [(r.levelname, r.message) for r in caplog.records][:4] == [
        ("INFO", "Total Activation Memory: 123 bytes"),
        ("WARNING", "careful"),
        ("WARNING", "careful"),
        ("ERROR", "broken"),
    ]
    assert (heard.errors, heard.warnings, heard.activation_bytes) == (["broken"], ["careful"], 123)


def test_the_library_is_silent_unless_the_program_listens(capfd: pytest.CaptureFixture[str]) -> None:
    library_logger(tensorrt_rtx).log(SEVERITY.ERROR, "nobody asked")
    assert capfd.readouterr().err == ""


def test_a_log_handler_that_raises_does_not_reach_native_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(LOG, "log", fail)
    monkeypatch.setattr(LOG, "isEnabledFor", lambda level: True)
    library_logger(tensorrt_rtx).log(SEVERITY.ERROR, "x")
    library_logger(tensorrt_rtx).log(SimpleNamespace(name="NEW"), "a severity of a later version")


def test_nested_phases_make_one_rising_share() -> None:
    shares: list[float] = []
    progress = Progress(lambda phase, share: shares.append(share))
    progress.start("all", None, 2)
    progress.start("first", "all", 4)
    for _ in range(4):
        assert progress.step("first")
    assert shares[-1] == 0.5
    progress.finish("first")
    progress.step("all")
    progress.start("second", "all", 1)
    progress.start("first", "second", 2)  # names come back
    progress.step("first")
    assert shares[-1] == 0.75
    progress.step("unheard of")
    progress.step("all")
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_callback_that_raises_stops_the_work_and_is_raised_on_the_callers_thread() -> None:
    def tell(phase: str, share: float) -> None:
        raise ValueError("from the callback")

    progress = Progress(tell)

    def work() -> None:
        progress.start("all", None, 1000)
        while progress.step("all"):
            time.sleep(0.001)

    with pytest.raises(ValueError, match="from the callback"):
        run_stoppable(work, progress)


def test_work_runs_on_another_thread_and_its_outcome_comes_back() -> None:
    progress = Progress(lambda phase, share: None)
    assert run_stoppable(threading.get_ident, progress) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        run_stoppable(lambda: 1 / 0, progress)
