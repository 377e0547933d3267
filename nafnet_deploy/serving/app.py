"""The HTTP application: pictures in, restored pictures out, and what an operator asks for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Generator
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import anyio
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, StreamingResponse
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from nafnet_deploy import __version__
from nafnet_deploy.errors import NafdeployError
from nafnet_deploy.manifest import ModelManifest
from nafnet_deploy.serving.formats import HEAD, MEDIA_TYPES, accepted, suffix_of
from nafnet_deploy.serving.guard import Guard
from nafnet_deploy.serving.metrics import Metrics
from nafnet_deploy.serving.openapi import ANSWERS, BODY, REFUSALS
from nafnet_deploy.serving.problems import SEE, Refused, problem, refused
from nafnet_deploy.serving.settings import Settings
from nafnet_deploy.serving.upload import receive_picture
from nafnet_deploy.serving.work import Gone, Workshop

PATHS = ("/", "/health", "/ready", "/metrics", "/model", "/openapi.json", "/restore", "/iterations")
"""Everything that the server answers to."""
Result = TypeVar("Result")
_PAGE_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src data: blob:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
Iters = Query(None, description="Reasoning iterations N; the model's own number when left out.")


def make_app(manifest: ModelManifest, workshop: Workshop, settings: Settings, metrics: Metrics, scratch: Path) -> Guard:
    """The application, as ASGI.

    Args:
        manifest: of the model that is served.
        workshop: what restores; closed when the application ends.
        settings: limits.
        metrics: what counts.
        scratch: a folder for the pictures of requests, each in one of its own.
    """
    ready = threading.Event()
    threads = anyio.CapacityLimiter(settings.concurrency)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(anyio.to_thread.run_sync(workshop.warm_up))
        warming.add_done_callback(lambda task: ready.set() if not task.exception() else None)
        try:
            yield
        finally:
            ready.clear()
            await asyncio.wait([warming])
            await anyio.to_thread.run_sync(workshop.close)

    app = FastAPI(
        title="nafnet-deploy", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan,
        description=f"Restores pictures with {manifest.name} ({manifest.task}).",
    )  # fmt: skip

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def page() -> HTMLResponse:
        text = files("nafnet_deploy.serving").joinpath("page.html").read_text(encoding="utf-8")
        return HTMLResponse(text, headers={"content-security-policy": _PAGE_POLICY})

    @app.get("/health")
    async def health() -> dict[str, str]:
        """The process lives and answers."""
        return {"status": "ok"}

    @app.get("/ready", responses={503: REFUSALS[503]})
    async def readiness() -> dict[str, str]:
        """The model is loaded and has run; 503 before that, and while the server stops."""
        if not ready.is_set():
            raise Refused(503, "the model is not ready.", "Ask again in a second.", 1)
        return {"status": "ready"}

    @app.get("/metrics", response_class=Response)
    async def numbers() -> Response:
        """Counters in Prometheus' text format."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/model")
    async def model() -> dict[str, Any]:
        """What is served, and the server's limits."""
        return facts(manifest, workshop, settings)

    @app.post("/restore", response_class=Response, openapi_extra=BODY, responses=ANSWERS)
    async def restore(request: Request, iters: int | None = Iters) -> Response:
        """Restores a picture. The answer has its format, or the one that the Accept header asks for."""
        n = workshop.check_iterations(iters)
        folder = Path(tempfile.mkdtemp(dir=scratch))
        try:
            source = await receive_picture(request, folder, ("iters",))
            with source.open("rb") as file:
                own = suffix_of(file.read(HEAD))
            targets = [folder / f"answer{suffix}" for suffix in accepted(request.headers.get("accept", ""), own)]
            target, seconds = await _in_thread(
                request, folder, threads, lambda gone: workshop.restore(source, targets, n, gone)
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        source.unlink()
        return FileResponse(
            target,
            media_type=MEDIA_TYPES[target.suffix],
            headers={"x-iterations": str(n), "server-timing": f"restore;dur={seconds * 1e3:.1f}"},
            background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
        )

    @app.post("/iterations", response_class=Response, openapi_extra=BODY, responses=REFUSALS)
    async def iterations(request: Request) -> Response:
        """The middle of a picture after every number of iterations, a line of JSON each, as they come.

        The first line holds what was given. An error in the middle of the work is a last line with `status`, `detail`
        and `mend`.
        """
        folder = Path(tempfile.mkdtemp(dir=scratch))
        gone = threading.Event()
        try:
            source = await receive_picture(request, folder)
            lines = workshop.stages(source, gone)
            first = await _in_thread(request, folder, threads, lambda _: next(lines), gone)
        finally:  # with the first line, the picture is in memory
            shutil.rmtree(folder, ignore_errors=True)

        async def body() -> AsyncIterator[str]:
            line: dict[str, Any] | None = first
            watching = asyncio.create_task(_watch(request, gone))
            try:
                while line is not None:
                    yield json.dumps(line) + "\n"
                    line = await anyio.to_thread.run_sync(_following, lines, folder, gone, limiter=threads)
            finally:
                watching.cancel()
                gone.set()
                with contextlib.suppress(ValueError):  # a thread is in them still, and closes them when it comes out
                    lines.close()

        return StreamingResponse(body(), media_type="application/x-ndjson", headers={"cache-control": "no-store"})

    _answer_errors(app)
    return Guard(app, settings, metrics, PATHS)


def facts(manifest: ModelManifest, workshop: Workshop, settings: Settings) -> dict[str, Any]:
    """What a client may want to know of the model and the server."""
    return {
        "name": manifest.name,
        "task": manifest.task,
        "architecture": manifest.model.architecture,
        "engine": workshop.engine,
        "precision": manifest.precision,
        "iterations": list(workshop.choices),
        "default_iterations": workshop.default,
        "scale": manifest.scale,
        "size_multiple": manifest.size_multiple,
        "tile_overlap": manifest.tile_overlap,
        "graph_sha256": manifest.graph_sha256,
        "version": __version__,
        "limits": {
            "body_bytes": settings.max_body,
            "pixels": settings.max_pixels,
            "preview_pixels": settings.preview_pixels,
            "concurrency": settings.concurrency,
        },
    }


async def _in_thread(
    request: Request,
    folder: Path,
    threads: anyio.CapacityLimiter,
    work: Callable[[threading.Event], Result],
    gone: threading.Event | None = None,
) -> Result:
    """Runs blocking work beside the event loop; its event is set when nobody waits for it any more."""
    left = threading.Event() if gone is None else gone
    watching = asyncio.create_task(_watch(request, left))
    try:
        return await anyio.to_thread.run_sync(work, left, limiter=threads)
    except asyncio.CancelledError:  # the thread goes on, and no disconnect is heard of any more
        left.set()
        raise
    except NafdeployError as error:
        raise refused(error, folder) from error
    except Gone as error:
        raise ClientDisconnect from error
    finally:
        watching.cancel()


async def _watch(request: Request, gone: threading.Event) -> None:
    """Sets the event when the client leaves. Its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    gone.set()


def _following(lines: Generator[dict[str, Any]], folder: Path, gone: threading.Event) -> dict[str, Any] | None:
    """The next line, one for an error, whose status was sent long ago, or None after the last."""
    try:
        return next(lines, None)
    except NafdeployError as error:
        found = refused(error, folder)
        return {"status": found.status_code, "detail": found.detail, "mend": found.mend}
    except Gone:
        return None
    finally:
        if gone.is_set():
            lines.close()


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        return problem(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        words = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
        return problem(Refused(422, words, SEE))

    @app.exception_handler(ClientDisconnect)
    async def left(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody reads it

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        return problem(Refused(500, f"unexpected {type(error).__name__}.", "The server's log says more."))
