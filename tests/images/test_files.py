"""Pictures of every mode survive reading and writing; every bad file gives one line."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms

from nafnet_deploy.errors import ImageError
from nafnet_deploy.images.files import read_picture
from nafnet_deploy.images.writing import write_picture
from tests.pictures import png16

RNG = np.random.default_rng(0)
RGBA = RNG.integers(0, 256, (13, 17, 4), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (70, 9, 4), dtype=np.uint16)  # more rows than one band of the writers
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def round_trip(source: Path, suffix: str) -> Path:
    target = source.with_name(f"again{suffix}")
    write_picture(read_picture(source), target)
    return target


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
def test_eight_bit_modes_are_kept(tmp_path: Path, mode: str, suffix: str) -> None:
    source = tmp_path / f"in{suffix}"
    image = Image.fromarray(RGBA).convert(mode)
    image.save(source, **({"lossless": True, "exact": True} if suffix == ".webp" else {}))
    back = Image.open(round_trip(source, suffix))
    if suffix == ".webp":  # the format knows no grey
        assert back.mode == ("RGBA" if mode in ("RGBA", "LA") else "RGB")
        return
    assert back.mode == mode
    assert np.array_equal(np.asarray(back), np.asarray(image))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_are_kept_by_every_writer(tmp_path: Path, channels: int, suffix: str) -> None:
    source = tmp_path / "in.png"
    source.write_bytes(png16(DEEP[..., :channels]))
    picture = read_picture(source)
    assert picture.bits == 16
    assert picture.grey == (channels < 3)
    assert (picture.alpha is not None) == (channels in (2, 4))
    target = round_trip(source, suffix)
    if suffix == ".tif":  # read by a library that is not ours
        assert np.array_equal(tifffile.imread(target).reshape((*DEEP.shape[:2], channels)), DEEP[..., :channels])
    else:
        again = read_picture(target)
        assert np.array_equal(again.pixels, picture.pixels)
        assert again.bits == 16


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bit_png_is_read_in_full(tmp_path: Path, channels: int, interlaced: bool) -> None:
    source = tmp_path / "in.png"
    source.write_bytes(png16(DEEP[..., :channels], interlaced))
    picture = read_picture(source)
    colours = DEEP[..., :3] if channels > 2 else DEEP[..., :1].repeat(3, axis=2)
    assert np.array_equal(np.rint(picture.pixels * 65535), colours)
    if picture.alpha is not None:
        assert np.array_equal(picture.alpha, DEEP[..., channels - 1])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bit_tiff_is_read_in_full(tmp_path: Path, channels: int, compression: str | None, order: str) -> None:
    source = tmp_path / "in.tif"
    alpha = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    data = DEEP[..., 0] if channels == 1 else DEEP[..., :channels]
    kind = "minisblack" if channels == 1 else "rgb"
    tifffile.imwrite(source, data, byteorder=order, compression=compression, photometric=kind, **alpha)
    picture = read_picture(source)
    assert picture.bits == 16
    assert np.array_equal(np.rint(picture.pixels[..., 1] * 65535), DEEP[..., 0 if channels == 1 else 1])


def test_the_colour_that_means_transparent_becomes_alpha_in_sixteen_bits(tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    key = struct.pack(">HHH", *(int(v) for v in DEEP[2, 3, :3]))
    chunk = struct.pack(">I", 6) + b"tRNS" + key + struct.pack(">I", zlib.crc32(b"tRNS" + key))
    source.write_bytes(png16(DEEP[..., :3], extra=chunk))
    alpha = read_picture(source).alpha
    assert alpha is not None
    assert alpha[2, 3] == 0
    assert (alpha == 65535).sum() == alpha.size - 1


@pytest.mark.parametrize("kind", ["float", "planar", "int32"])
def test_samples_that_pillow_would_cut_down_are_refused(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "in.tif"
    if kind == "planar":
        tifffile.imwrite(source, DEEP[..., :3].transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    else:
        tifffile.imwrite(source, DEEP[..., 0].astype(np.float32 if kind == "float" else np.int32))
    with pytest.raises(ImageError, match=r"in\.tif"):
        read_picture(source)


def test_a_palette_becomes_rgb(tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    palette = Image.fromarray(RGBA[..., :3]).quantize(16)
    palette.save(source)
    back = Image.open(round_trip(source, ".png"))
    assert back.mode == "RGB"
    assert np.array_equal(np.asarray(back), np.asarray(palette.convert("RGB")))


def test_a_transparent_palette_keeps_its_alpha(tmp_path: Path) -> None:
    source = tmp_path / "in.gif"
    palette = Image.fromarray(RGBA[..., :3]).quantize(16)
    palette.save(source, transparency=3)
    back = Image.open(round_trip(source, ".png"))
    assert back.mode == "RGBA"
    assert np.array_equal(np.asarray(back)[..., 3] == 0, np.asarray(palette) == 3)


def test_one_bit_becomes_grey(tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    bits = Image.fromarray(RGBA[..., 0]).convert("1")
    bits.save(source)
    back = Image.open(round_trip(source, ".png"))
    assert back.mode == "L"
    assert np.array_equal(np.asarray(back) > 0, np.asarray(bits))


@pytest.mark.parametrize("profile", [None, b"not a profile"])
def test_cmyk_becomes_rgb_without_its_cmyk_profile(tmp_path: Path, profile: bytes | None) -> None:
    source = tmp_path / "in.jpg"
    Image.new("CMYK", (9, 7), (255, 0, 0, 0)).save(source, quality=95, icc_profile=profile)
    picture = read_picture(source)
    assert picture.icc is None
    assert np.allclose(picture.pixels[3, 3], (0, 1, 1), atol=0.02)


def test_grey_gets_the_mean_of_a_restored_picture(tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    Image.new("L", (4, 3), 100).save(source)
    picture = read_picture(source)
    tinted = picture.pixels + np.array([-0.1, 0.0, 0.1], np.float32)
    write_picture(picture.with_pixels(tinted), tmp_path / "out.png")
    back = Image.open(tmp_path / "out.png")
    assert back.mode == "L"
    assert np.asarray(back).ravel().tolist() == [100] * 12


def test_alpha_follows_an_enlarged_picture(tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    Image.fromarray(np.full((3, 5, 4), 77, np.uint8)).save(source)
    larger = read_picture(source).with_pixels(np.zeros((6, 10, 3), np.float32))
    assert larger.alpha is not None
    assert larger.alpha.dtype == np.uint8
    assert np.array_equal(larger.alpha, np.full((6, 10), 77))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_grey_that_means_transparent_is_found_at_any_depth(tmp_path: Path, bits: int) -> None:
    row = np.array([0, 1] * 4, np.uint8) * (2**bits - 1)  # black, and white, which is transparent
    packed = np.packbits(((row[:, None] >> np.arange(bits)[::-1]) & 1).astype(np.uint8)).tobytes()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 2, bits, 0, 0, 0, 0))
        + chunk(b"tRNS", struct.pack(">H", 2**bits - 1))
        + chunk(b"IDAT", zlib.compress((b"\0" + packed) * 2))
        + chunk(b"IEND", b"")
    )
    picture = read_picture(tmp_path / "a.png")
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[255, 0] * 4] * 2


@pytest.mark.parametrize("deep", [False, True])
def test_a_tiff_whose_white_is_zero_is_no_negative(tmp_path: Path, deep: bool) -> None:
    samples = np.full((8, 8), 10, np.uint16 if deep else np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="miniswhite")
    assert np.allclose(read_picture(tmp_path / "a.tif").pixels, 1 - 10 / (65535 if deep else 255))


@pytest.mark.parametrize(("kind", "form"), [(3, "HH"), (4, "I")])
def test_an_orientation_of_any_whole_number_is_reset(tmp_path: Path, kind: int, form: str) -> None:
    value = struct.pack("<" + form, *([6, 0] if form == "HH" else [6]))
    block = b"Exif\0\0II*\0" + struct.pack("<IHHHI", 8, 1, 274, kind, 1) + value + struct.pack("<I", 0)
    Image.new("RGB", (16, 8)).save(tmp_path / "a.jpg", exif=block)
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.pixels.shape == (16, 8, 3)
    write_picture(picture, tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as back:
        assert (back.size, back.getexif()[274]) == ((8, 16), 1)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_reset(tmp_path: Path, orientation: int, suffix: str) -> None:
    source = tmp_path / f"in{suffix}"
    block = Image.Exif()
    block[ExifTags.Base.Orientation] = orientation
    block[ExifTags.Base.Make] = "Camera"
    blocks = np.kron(RNG.integers(0, 256, (4, 6, 1), dtype=np.uint8), np.ones((16, 16, 3), np.uint8))
    Image.fromarray(blocks).save(source, exif=block, **({"quality": 100} if suffix in (".jpg", ".webp") else {}))
    with Image.open(source) as image:
        image.load()
        turned = image if suffix == ".tif" else _transposed(image, orientation)  # Pillow turns TIFFs by itself
        wanted = np.asarray(turned)
    assert wanted.shape[:2] == ((64, 96) if orientation < 5 else (96, 64))
    picture = read_picture(source)
    assert np.array_equal(np.rint(picture.pixels * 255), wanted)
    with Image.open(round_trip(source, suffix)) as back:
        assert back.getexif().get(ExifTags.Base.Orientation, 1) == 1
        assert back.getexif()[ExifTags.Base.Make] == "Camera"
        assert back.size == (wanted.shape[1], wanted.shape[0])


def _transposed(image: Image.Image, orientation: int) -> Image.Image:
    methods = ["FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"]
    return image if orientation == 1 else image.transpose(Image.Transpose[methods[orientation - 2]])


@pytest.mark.parametrize(
    ("suffix", "deep"),
    [(".jpg", False), (".png", False), (".webp", False), (".tif", False), (".png", True), (".tif", True)],
)
def test_profile_exif_and_resolution_are_kept(tmp_path: Path, suffix: str, deep: bool) -> None:
    source = tmp_path / "in.png"
    block = Image.Exif()
    block[ExifTags.Base.Artist] = "somebody"
    block[ExifTags.IFD.Exif] = {ExifTags.Base.ISOSpeedRatings: 400}
    block[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N"}
    Image.fromarray(RGBA[..., :3]).save(source, icc_profile=SRGB, exif=block, dpi=(300, 150))
    if deep:  # the same metadata around 16-bit samples
        small = source.read_bytes()
        metadata = small[33 : small.index(b"IDAT") - 4]
        source.write_bytes(png16(DEEP[..., :3], extra=metadata))
    with Image.open(round_trip(source, suffix)) as back:
        assert back.info["icc_profile"] == SRGB
        exif = back.getexif()
        assert exif[ExifTags.Base.Artist] == "somebody"
        assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 400
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
        if suffix != ".webp":  # the format has no place for it
            assert np.allclose([float(d) for d in back.info["dpi"]], (300, 150), atol=0.1)
    again = read_picture(tmp_path / f"again{suffix}")
    assert again.icc == SRGB
    assert again.bits == (16 if deep else 8)


def test_a_phone_picture_with_a_second_frame_gives_its_main_picture(tmp_path: Path) -> None:
    source = tmp_path / "in.jpg"
    images = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    images[0].save(source, format="MPO", save_all=True, append_images=images[1:])
    assert read_picture(source).pixels[4, 4, 0] > 0.9
