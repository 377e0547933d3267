"""16-bit pictures with several channels, which Pillow decodes to 8 bits without a word.

They go through Pillow's decoders twice: its unpacker for one byte order keeps the high byte of each sample, the
unpacker for the other order keeps the low byte.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from nafnet_deploy.errors import ImageError

_BITS_PER_SAMPLE, _PLANAR = 258, 284
_OTHER_ORDER = {"L": "B", "B": "L"}


def raw_mode(image: ImageFile.ImageFile) -> str:
    """How the pixels of an opened, not yet loaded picture are stored, in Pillow's words (e.g. `RGB;16B`)."""
    args = image.tile[0].args if image.tile else ""
    return str(args[0] if isinstance(args, tuple) else args)


def check_depth(image: ImageFile.ImageFile) -> None:
    """Refuses what Pillow would silently decode with fewer bits or the wrong scale.

    Raises:
        ImageError: 16-bit samples in a layout that cannot be read in full, or more than 16 bits.
    """
    mend = "Convert it to a 16-bit RGB PNG first."
    name = Path(str(image.filename)).name
    raw = raw_mode(image)
    if image.mode in ("I", "F"):
        raise ImageError(f"{name} has 32 bits per sample, only 8 and 16 can be restored.", mend)
    if image.format == "TIFF":
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        bits = max(tags.get(_BITS_PER_SAMPLE, (1,)))
        if bits > 8 and (bits != 16 or tags.get(_PLANAR) == 2):
            raise ImageError(f"{name} stores its {bits}-bit samples in a layout that cannot be read.", mend)
    deep = image.format in ("PNG", "TIFF") and ";16" in raw  # in a BMP it means 16 bits per pixel
    if deep and not image.mode.startswith("I;16") and not is_deep_colour(image):
        raise ImageError(f"{name} is a 16-bit {image.mode} picture, which cannot be read in full.", mend)


def is_deep_colour(image: ImageFile.ImageFile) -> bool:
    """True for 16-bit pictures with several channels that `read_deep_colour` reads."""
    return raw_mode(image).split(";16")[0] in ("RGB", "RGBA", "LA") and ";16" in raw_mode(image)


def read_deep_colour(path: Path, image: ImageFile.ImageFile) -> NDArray[np.uint16]:
    """All 16 bits of a picture that is opened and not yet loaded: uint16 [H, W, 2 (grey, alpha), 3 or 4]."""
    kind, order = raw_mode(image).split(";16")
    if kind == "LA":  # read as four bytes per pixel: grey high, grey low, alpha high, alpha low
        pairs = _decode(image, "RGBA")
        return _join(pairs[..., 0::2], pairs[..., 1::2])
    # libtiff hands over samples in this machine's order ("N"); every machine that matters is little-endian
    order = "L" if order == "N" else order
    high = _decode(image, f"{kind};16{order}")
    with Image.open(path, formats=(str(image.format),)) as again:
        return _join(high, _decode(again, f"{kind};16{_OTHER_ORDER[order]}"))


def _join(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return np.left_shift(high, 8, dtype=np.uint16) | low


def _decode(image: ImageFile.ImageFile, raw: str) -> NDArray[np.uint8]:
    image.tile = [t._replace(args=(raw, *t.args[1:]) if isinstance(t.args, tuple) else raw) for t in image.tile]
    image.load()
    return np.asarray(image)
