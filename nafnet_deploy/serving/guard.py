"""Stands before the application: how many requests come in, how large, how slow; and counts what goes out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from nafnet_deploy.serving.metrics import Metrics
from nafnet_deploy.serving.problems import Refused, problem
from nafnet_deploy.serving.settings import Settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_LINGER = 1.0
"""How long what a refused client still sends is read and dropped (s): closing at once would make its system throw
away the answer unread."""
_UNANSWERED = "499"
"""What is counted as the status of a request that got none."""


class Guard:
    """ASGI middleware. GET is never turned down: the page, health and metrics answer however busy the server is.

    Args:
        app: what answers.
        settings: the limits.
        metrics: where requests are counted.
        paths: paths that are counted by name; others are counted together.
    """

    def __init__(self, app: Application, settings: Settings, metrics: Metrics, paths: tuple[str, ...]) -> None:
        self._app, self._settings, self._metrics, self._paths = app, settings, metrics, paths
        self._in_work = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, path = time.perf_counter(), scope["path"] if scope["path"] in self._paths else "other"
        body = _Body(receive, self._settings)
        answer = _Answer(send, body)
        try:
            if scope["method"] in ("GET", "HEAD"):
                body.done = True
                # what answers GET answers HEAD: the server leaves the content out
                await self._app({**scope, "method": "GET"}, receive, answer)
            else:
                await self._admit(scope, body, answer)
        except asyncio.CancelledError:  # the server stops, and has waited long enough
            if answer.status == _UNANSWERED:
                late = Refused(503, "the server stops before this is done.", "Send it again when the server is back.")
                await problem(late)(scope, body, answer)
        finally:
            self._metrics.requests.labels(path, answer.status).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - began)

    async def _admit(self, scope: MutableMapping[str, Any], body: _Body, answer: _Answer) -> None:
        if self._in_work >= self._settings.concurrency:
            full = Refused(503, f"{self._in_work} requests are in work already.", "Try again in a second.", 1)
            await problem(full)(scope, body, answer)
            return
        length = dict(scope["headers"]).get(b"content-length", b"")
        if length.isdigit() and int(length) > self._settings.max_body:
            await problem(body.too_large())(scope, body, answer)
            return
        self._in_work += 1
        self._metrics.in_work.set(self._in_work)
        try:
            await self._app(scope, body, answer)
        finally:
            self._in_work -= 1
            self._metrics.in_work.set(self._in_work)


class _Body:
    """A request's body, counted and timed as it comes."""

    def __init__(self, receive: Receive, settings: Settings) -> None:
        self._receive, self._settings = receive, settings
        self._bytes, self._began = 0, time.monotonic()
        self.done = False

    def too_large(self) -> Refused:
        limit = self._settings.max_body
        return Refused(413, f"the body is larger than {limit} bytes.", "Send a smaller file, or raise --max-body.")

    async def __call__(self) -> Message:
        if self.done:  # what comes now is the client's leaving, for which there is no hurry
            return await self._receive()
        left = self._began + self._settings.body_seconds - time.monotonic()
        try:
            async with asyncio.timeout(min(left, self._settings.idle_seconds)):
                message = await self._receive()
        except TimeoutError:
            raise Refused(408, "the body came too slowly.", "Send it faster, or a smaller file.") from None
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._settings.max_body:
            raise self.too_large()
        self.done = not message.get("more_body", False)
        return message

    async def drop_rest(self) -> None:
        try:
            async with asyncio.timeout(_LINGER):
                while (await self._receive()).get("more_body", False):
                    pass
        except TimeoutError:
            pass


class _Answer:
    """A response on its way; where the request's body has not been read in full, the connection ends with it."""

    def __init__(self, send: Send, body: _Body) -> None:
        self._send, self._body = send, body
        self._early = False
        self.status = _UNANSWERED

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = str(message["status"])
            self._early = not self._body.done and message["status"] >= 400
            if self._early:
                message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
        elif self._early and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._body.drop_rest()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)
