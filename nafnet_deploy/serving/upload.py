"""A request's picture as a file, written as it comes, so that its size is no matter of memory."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import anyio
from fastapi import Request
from starlette.datastructures import UploadFile

from nafnet_deploy.serving.problems import Refused

_FORM = "multipart/form-data"
_MAX_FIELDS = 16


async def receive_picture(request: Request, folder: Path, known: Sequence[str] = ()) -> Path:
    """Writes the picture of a request into a folder.

    Args:
        request: the picture is its body, or the one file of its form.
        folder: exists, and belongs to this request.
        known: parameters that the URL may have.

    Returns:
        The file `picture` in it.

    Raises:
        Refused: no picture, a form that is damaged or holds none or other fields, a body that is no file, or an
            unknown parameter.
        HTTPException: what the form's parser or the guard have to say.
    """
    _check_words("parameter", request.query_params.multi_items(), known)
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    path = folder / "picture"
    if kind == _FORM:
        await _from_form(request, path)
    else:  # whatever the type says: that of curl's --data-binary is a form's text
        with path.open("wb") as file:
            async for chunk in request.stream():
                file.write(chunk)
    if not path.stat().st_size:
        raise Refused(422, "the body is empty.", "Send a picture.")
    return path


async def _from_form(request: Request, path: Path) -> None:
    async with request.form(max_files=1, max_fields=_MAX_FIELDS) as form:
        found = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if not found:
            raise Refused(422, "the form holds no file.", "Send: curl -F file=@photo.jpg")
        _check_words("form field", [(name, "") for name, value in form.multi_items() if isinstance(value, str)], ())
        upload = found[0].file

        def copy() -> None:
            upload.seek(0)  # of a form that was cut off, nobody has turned it back
            with path.open("wb") as file:
                shutil.copyfileobj(upload, file)

        await anyio.to_thread.run_sync(copy)


def _check_words(kind: str, given: Sequence[tuple[str, str]], known: Sequence[str]) -> None:
    """Refuses what would be passed over: an unknown name, or one that is given twice."""
    names = [name for name, _ in given]
    for name in names:
        if name not in known or names.count(name) > 1:
            what = "unknown" if name not in known else "given more than once"
            raise Refused(422, f"the {kind} {name!r} is {what}.", "Ask for iterations with: /restore?iters=2")
