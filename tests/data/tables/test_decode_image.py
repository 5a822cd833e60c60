"""Images of every kind become the same square of colors, and what cannot be read says why."""

import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.pictures import drawn, encoded
from warmstart.data.tables.decode_image import ImageError, decode_image, image_size

HALVES = np.zeros((16, 16, 3), np.uint8)
HALVES[:, 8:] = (250, 200, 30)  # black on the left, yellow on the right


def saved(image: Image.Image, kind: str, **more: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **more)
    return file.getvalue()


def test_pixels_of_the_size_that_is_read_stay_as_they_are() -> None:
    pixels, _, _ = drawn(3)
    assert np.array_equal(decode_image(encoded(pixels), 12), pixels)


@pytest.mark.parametrize(
    "content",
    [
        saved(Image.fromarray(HALVES), "PNG"),
        saved(Image.fromarray(HALVES), "BMP"),
        saved(Image.fromarray(HALVES), "WEBP", lossless=True),
        saved(Image.fromarray(HALVES).convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
        saved(Image.fromarray(HALVES).convert("P", palette=Image.Palette.ADAPTIVE), "GIF"),
        saved(Image.fromarray(HALVES).convert("RGBA"), "PNG"),
        saved(Image.fromarray(HALVES).convert("CMYK"), "TIFF"),
        saved(Image.fromarray(HALVES).convert("CMYK"), "JPEG", quality=100, subsampling=0),
        saved(Image.fromarray(HALVES), "JPEG", quality=100, subsampling=0, progressive=True),
    ],
    ids=["png", "bmp", "webp", "palette", "gif", "rgba", "cmyk tiff", "cmyk jpeg", "progressive"],
)
def test_colors_are_those_that_are_seen(content: bytes) -> None:
    found = decode_image(content, 16).astype(int)
    assert np.abs(found - HALVES).mean() < 4
    assert found.shape == (16, 16, 3)


def test_a_photo_is_turned_as_its_exif_tag_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    content = saved(Image.fromarray(HALVES), "JPEG", quality=100, subsampling=0, exif=exif)
    found = decode_image(content, 16)
    assert found[:, :6].mean() > 120 and found[:, 10:].mean() < 10


def test_a_large_photo_is_turned_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    content = saved(Image.fromarray(HALVES.repeat(20, 0).repeat(20, 1)), "JPEG", exif=exif)
    found = decode_image(content, 8)
    assert found[:, :3].mean() > 120 and found[:, 5:].mean() < 12


def test_16_bits_become_8(tmp_path: Path) -> None:
    gray = np.linspace(0, 65_535, 256).astype(np.uint16).reshape(16, 16)
    found = decode_image(saved(Image.fromarray(gray), "PNG"), 16)
    assert np.array_equal(found[..., 0], np.arange(256).reshape(16, 16))


def test_what_is_transparent_is_white() -> None:
    clear = np.zeros((8, 8, 4), np.uint8)
    assert decode_image(saved(Image.fromarray(clear), "PNG"), 8).min() == 255


def test_of_an_animation_the_first_frame_is_read() -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (200, 10)]
    content = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(content, 8).min() >= 198


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"<html>not found</html>", "none of JPEG"),
        (encoded(np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8))[:1500], "cut off"),
        (saved(Image.fromarray(HALVES), "JPEG")[:-30], "cut off"),
        (saved(Image.new("F", (4, 4), 3.5), "TIFF"), "8 bits"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "none of JPEG"),
    ],
    ids=["empty", "html", "cut png", "cut jpeg", "fractions", "postscript"],
)
def test_what_cannot_be_read_says_why(content: bytes, why: str) -> None:
    with pytest.raises(ImageError, match=why):
        decode_image(content, 16)


def announced(width: int, height: int) -> bytes:
    """A PNG of a few bytes that announces so many pixels, all of them black."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 20), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_000, 60_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(side: int) -> None:
    tracemalloc.start()
    with pytest.raises(ImageError, match="pixels"):
        decode_image(announced(side, side), 64)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_a_large_jpeg_is_decoded_small() -> None:
    content = saved(Image.new("RGB", (7_000, 6_000), (10, 200, 30)), "JPEG")  # 42 million pixels
    assert image_size(content) == (7_000, 6_000)
    found = decode_image(content, 32)
    assert np.abs(found.astype(int) - (10, 200, 30)).max() < 4
