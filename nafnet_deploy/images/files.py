"""Pictures read from disk: every common mode and depth, upright, with one clear line for every bad file."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import COMPRESSION_INFO, ImageFileDirectory_v2

from nafnet_deploy.errors import ImageError, UsageError
from nafnet_deploy.images.deep import check_depth, is_deep_colour, read_deep_colour
from nafnet_deploy.images.exif import ORIENTATION, TURNED, orientation_of, upright, upright_exif
from nafnet_deploy.images.picture import Picture, Samples, to_unit_range

MAX_PIXELS = 2**28
"""Largest picture that is opened (pixels, 268 million: a 200-megapixel phone passes, a decompression bomb does not)."""
PICTURE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Suffixes by which a folder's pictures are found, lower case. A single file is judged by its content."""
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
_COMPRESSION, _PHOTOMETRIC = 259, 262  # the TIFF tags
_KEY_SCALE = {"L;2": 85, "L;4": 17}  # of a transparent grey, which Pillow leaves as it was stored
_opening = threading.Lock()


def list_pictures(folder: Path) -> list[Path]:
    """The pictures directly inside a folder, found by suffix, in name order; hidden files are left out.

    Raises:
        UsageError: the folder is missing or holds none.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.", "Check the path.")
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".") and not path.is_dir()
    )
    if not found:
        raise UsageError(f"{folder} holds no pictures.", f"Known suffixes: {', '.join(PICTURE_SUFFIXES)}.")
    return found


def read_picture(path: Path) -> Picture:
    """Reads a picture: RGB, grey, 1-bit, palette, CMYK, with or without alpha, 8 or 16 bits per sample.

    CMYK is turned into sRGB (through its own profile where it has one) and palettes into RGB; both are written
    back as RGB. A phone's multi-picture JPEG gives its main picture.

    Raises:
        ImageError: the file is missing, not a picture, damaged, an animation, larger than `MAX_PIXELS`, or
            stored with samples that cannot be read in full.
    """
    with opened(path) as image:
        return _read(path, image)


def read_size(path: Path, most: int = MAX_PIXELS) -> tuple[int, int]:
    """Height and width (pixels) of the picture that `read_picture` would give, from the file's header alone.

    `most` replaces the limit of `MAX_PIXELS`.

    Raises:
        ImageError: as `read_picture`, as far as the header tells.
    """
    with opened(path, most) as image:
        width, height = image.size
        # the base class's getexif: that of a PNG decodes all pixels to look for a block behind them
        turned = image.format != "TIFF" and Image.Image.getexif(image).get(ORIENTATION) in TURNED
        return (width, height) if turned else (height, width)


@contextmanager
def opened(path: Path, most: int = MAX_PIXELS) -> Iterator[ImageFile.ImageFile]:
    """The opened, not yet loaded picture; whatever goes wrong until it is closed becomes an `ImageError`."""
    _check_file(path)
    try:
        # a damaged file must give one line of ours, not Pillow's warnings as well
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _without_pillow_limit(), Image.open(path, formats=_FORMATS) as image:
                _check_header(path, image, most)
                yield image
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise _unknown(path) from error
    except MemoryError as error:
        raise ImageError(f"{path} does not fit into memory.", "Use a machine with more memory.") from error
    except Exception as error:  # damaged files raise anything from zlib.error to KeyError in Pillow's decoders
        raise ImageError(f"{path} is damaged and cannot be read: {one_line(error)}.", "Get a whole copy.") from error


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a folder, not a picture.", "Give a picture file.")
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise ImageError(f"{path} is not a file.", "Give a picture file.")
        with path.open("rb") as file:
            if not file.read(1):
                raise ImageError(f"{path} is empty.", "Get a whole copy.")
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist.", "Check the path.") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error


def _unknown(path: Path) -> ImageError:
    """What is wrong with a file that no decoder takes, as far as its first bytes tell."""
    with path.open("rb") as file:
        head = file.read(8)
        if head.startswith(b"PK\x03\x04"):
            return ImageError(f"{path} is a ZIP archive, whatever its name says.", "Unpack it first.")
        compression: object = None
        if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            try:
                directory = ImageFileDirectory_v2(head + (file.read(8) if b"+" in head[:4] else b""))
                file.seek(directory.next)
                directory.load(file)
                compression = directory.get(_COMPRESSION)
            except Exception:  # a damaged directory says nothing; its decoder raises anything
                compression = None
        if isinstance(compression, int) and compression not in COMPRESSION_INFO:
            return ImageError(
                f"{path} is a TIFF of compression {compression}, which cannot be read.",
                "Save it with deflate, LZW or JPEG compression, or none.",
            )
    return ImageError(f"{path} is not a picture of a known kind.", "Give a JPEG, PNG, TIFF, WebP, BMP or GIF file.")


def _check_header(path: Path, image: ImageFile.ImageFile, most: int) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"{path} has no pixels ({width}x{height}).", "Give a picture of at least 1x1.")
    if width * height > most:
        raise ImageError(
            f"{path} claims {width}x{height} pixels, more than the limit of {most / 1e6:.0f} million.",
            "Cut it into parts first.",
        )
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise ImageError(f"{path} holds {frames} pictures.", "Save them as separate files and restore the folder.")
    check_depth(image)


def _read(path: Path, image: ImageFile.ImageFile) -> Picture:
    icc = image.info.get("icc_profile") or None
    key = image.info.get("transparency")
    samples: Samples
    if is_deep_colour(image):
        samples = read_deep_colour(path, image)
    elif image.mode.startswith("I;16"):
        samples = np.asarray(image).astype(np.uint16)[..., None]
        if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0:  # type: ignore[attr-defined]
            samples = 65535 - samples  # white is zero: Pillow turns that over in 8 bits only
    else:
        if image.mode == "L" and isinstance(key, int) and image.tile:
            image.info["transparency"] = key * _KEY_SCALE.get(str(image.tile[0].args), 1)
        plain = _plain_mode(image, icc)
        icc = None if image.mode == "CMYK" else icc
        samples = np.asarray(plain)
        samples = samples[..., None] if samples.ndim == 2 else samples
    bits = 8 * samples.dtype.itemsize
    if bits == 16 and key is not None:  # a PNG colour that stands for transparent; Pillow resolves it in 8 bits only
        opaque = (samples != np.asarray(key, np.uint16)).any(axis=2, keepdims=True)
        samples = np.concatenate([samples, opaque * np.uint16(65535)], axis=2)
    # asked after loading: Pillow turns a TIFF upright by itself and then forgets the tag
    samples = upright(samples, orientation_of(image))
    grey = samples.shape[2] < 3
    alpha = np.ascontiguousarray(samples[..., -1]) if samples.shape[2] in (2, 4) else None
    colour = to_unit_range(samples[..., :1] if grey else samples[..., :3])
    return Picture(
        pixels=np.repeat(colour, 3, axis=2) if grey else colour,
        alpha=alpha,
        bits=bits,
        grey=grey,
        icc=icc,
        exif=upright_exif(image),
        dpi=dpi_of(image),
        source=path,
    )


def _plain_mode(image: Image.Image, icc: bytes | None) -> Image.Image:
    """An 8-bit picture as L, LA, RGB or RGBA."""
    mode = image.mode
    if mode == "CMYK":
        return cmyk_to_rgb(image, icc)
    if mode == "1":
        image, mode = image.convert("L"), "L"
    has_alpha = image.has_transparency_data
    wanted = {
        "L": "LA" if has_alpha else "L",
        "LA": "LA",
        "La": "LA",
        "P": "RGBA" if has_alpha else "RGB",
        "PA": "RGBA",
        "RGB": "RGBA" if has_alpha else "RGB",
        "RGBA": "RGBA",
        "RGBa": "RGBA",
        "RGBX": "RGB",
        "YCbCr": "RGB",
    }.get(mode)
    if wanted is None:
        raise ImageError(f"a picture with {mode} pixels cannot be restored.", "Convert it to RGB first.")
    if mode == wanted:
        image.load()
        return image
    return image.convert(wanted)


def cmyk_to_rgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """CMYK as sRGB, through its profile where it has one that works."""
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):  # an unusable profile: fall through to the plain formula
            converted = None
        if converted is not None:
            return converted
    return image.convert("RGB")


def dpi_of(image: Image.Image) -> tuple[float, float] | None:
    """The printing resolution of an opened picture; None where it has none that makes sense."""
    try:
        across, down = (float(d) for d in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e5 and 0 < down < 1e5 else None


def one_line(error: Exception) -> str:
    """What a decoder says, without its line breaks and final stop."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.rstrip(".")


@contextmanager
def _without_pillow_limit() -> Iterator[None]:
    """Lifts Pillow's own bomb limit, which warns at 89 megapixels on stderr; `MAX_PIXELS` takes its place."""
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
