"""The format of a picture by its first bytes, and the one that a client accepts."""

from __future__ import annotations

import contextlib

from nafnet_deploy.serving.problems import Refused

MEDIA_TYPES = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".webp": "image/webp",
}
"""What is answered with, by suffix."""
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


def accepted(accept: str, own: str) -> list[str]:
    """The suffixes that an answer may have, from the one that the client likes best.

    Args:
        accept: the request's Accept header; empty for anything.
        own: suffix of the picture that came, which is first among those that the client likes equally.

    Raises:
        Refused: nothing that is written here is accepted.
    """
    weights = {}
    for part in filter(str.strip, accept.split(",")):
        media, *parameters = (word.strip().lower() for word in part.split(";"))
        weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        with contextlib.suppress(ValueError):
            weights["image/jpeg" if media == "image/jpg" else media] = float(weight)
    if not weights:
        weights["*/*"] = 1.0
    likings = {}
    for suffix, media in MEDIA_TYPES.items():  # the most specific range decides, whatever its weight
        ranges = (weights[name] for name in (media, "image/*", "*/*") if name in weights)
        likings[suffix] = next(ranges, 0.0)
    order = sorted((s for s in likings if likings[s] > 0), key=lambda suffix: (-likings[suffix], suffix != own))
    if not order:
        raise Refused(406, f"{accept} is not written here.", f"Accept one of {', '.join(MEDIA_TYPES.values())}.")
    return order
