"""The format of a picture by its first bytes, and the one that a client accepts."""

from __future__ import annotations

from nafnet_deploy.serving.problems import Refused

MEDIA_TYPES = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".webp": "image/webp",
}
"""What is answered with, by suffix."""
_SUFFIXES = {media: suffix for suffix, media in MEDIA_TYPES.items()} | {"image/jpg": ".jpg"}
_STARTS = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"II+\0": ".tif",
    b"MM\0+": ".tif",
}
HEAD = 12
"""Bytes that tell a format."""


def suffix_of(head: bytes) -> str:
    """The suffix for an answer to a file that begins so; `.png` for what is never written (GIF, BMP)."""
    for start, suffix in _STARTS.items():
        if head.startswith(start):
            return suffix
    return ".webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else ".png"


def accepted(accept: str, own: str) -> str:
    """The suffix of an answer.

    Args:
        accept: the request's Accept header; empty for anything.
        own: suffix of the picture that came, which is taken wherever the client leaves a choice.

    Raises:
        Refused: nothing that is written here is accepted.
    """
    wishes = []
    for part in accept.split(","):
        media, *parameters = (word.strip().lower() for word in part.split(";"))
        weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            wishes.append((float(weight), media))
        except ValueError:
            continue
    never = {media for quality, media in wishes if quality <= 0}
    rest = [suffix for media, suffix in _SUFFIXES.items() if media not in never]
    for quality, media in sorted(wishes, key=lambda wish: -wish[0]):
        if quality <= 0:
            continue
        if media in ("", "*/*", "image/*") and rest:
            return own if MEDIA_TYPES[own] not in never else rest[0]
        if media == MEDIA_TYPES[own]:
            return own
        if media in _SUFFIXES:
            return _SUFFIXES[media]
    raise Refused(406, f"{accept} is not written here.", f"Accept one of {', '.join(MEDIA_TYPES.values())}.")
