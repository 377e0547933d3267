"""What `/openapi.json` says of requests and answers that are pictures, which no type annotation can."""

from __future__ import annotations

from typing import Any

from nafnet_deploy.serving.formats import MEDIA_TYPES

_PICTURE: dict[str, Any] = {"type": "string", "format": "binary"}
BODY = {
    "requestBody": {
        "required": True,
        "description": "A JPEG, PNG, TIFF, WebP, BMP or GIF file: as the body itself, or as one file of a form.",
        "content": {
            "image/*": {"schema": _PICTURE},
            "application/octet-stream": {"schema": _PICTURE},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": _PICTURE}, "required": ["file"]}
            },
        },
    }
}
"""Of a request that brings a picture."""
_PROBLEM = {
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "properties": {
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string", "description": "What is wrong."},
                    "mend": {"type": "string", "description": "What to do about it."},
                },
            }
        }
    }
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "A form that cannot be read.", **_PROBLEM},
    406: {"description": "No accepted format is written here.", **_PROBLEM},
    408: {"description": "The body came too slowly.", **_PROBLEM},
    413: {"description": "Too many bytes or pixels.", **_PROBLEM},
    422: {"description": "Not a picture that can be restored, or iterations that are not offered.", **_PROBLEM},
    503: {"description": "Too many requests in work, or the server stops.", **_PROBLEM},
}
"""Answers that are problems, by status."""
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The restored picture.",
        "content": {media: {"schema": _PICTURE} for media in MEDIA_TYPES.values()},
    },
    **REFUSALS,
}
"""All answers to a request that gets a picture back."""
