"""Errors as the client sees them: `application/problem+json` (RFC 9457) with what is wrong and how to mend it."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from nafnet_deploy.errors import MachineError, NafdeployError, UsageError

SEE = "See /openapi.json."
"""What to do about errors of the framework."""


class Refused(HTTPException):
    """A request that is turned down.

    Args:
        status: HTTP status code.
        detail: one line, what is wrong.
        mend: one line, what to do about it.
        retry_after: seconds after which it may be tried again.
    """

    def __init__(self, status: int, detail: str, mend: str = "", retry_after: int | None = None) -> None:
        headers = None if retry_after is None else {"retry-after": str(retry_after)}
        super().__init__(status, detail, headers)
        self.mend = mend


def problem(error: HTTPException) -> JSONResponse:
    """The response to an HTTP error, ours or the framework's."""
    return JSONResponse(
        {
            "title": HTTPStatus(error.status_code).phrase,
            "status": error.status_code,
            "detail": error.detail,
            "mend": getattr(error, "mend", SEE),
        },
        error.status_code,
        dict(error.headers) if error.headers else None,
        "application/problem+json",
    )


def refused(error: NafdeployError, folder: Path) -> Refused:
    """One of our errors as a status: 422 for a bad request or picture, 503 for a lack of this machine, else 500.

    Args:
        error: what went wrong.
        folder: where the request's files lie; nobody outside needs to know.
    """
    status = 422 if isinstance(error, UsageError) else 503 if isinstance(error, MachineError) else 500
    return Refused(status, error.message.replace(f"{folder}/", ""), error.mend)
