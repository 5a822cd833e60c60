"""Decode an image: how does an image file become a square of RGB pixels, upright by EXIF, in bounded memory?

The header is read first. JPEG is decoded at 1/2, 1/4 or 1/8 of its size by its own decoder, so that a photo of 100
megapixels takes a few. Everything else, and what JPEG holds whole while it decodes (progressive files), has a limit.

An exported ONNX model of images holds a copy of this file, which therefore needs nothing but numpy and Pillow.
"""

import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

    from warmstart.types import Array

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".pgm", ".ppm")
IMAGE_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")  # no others: PostScript would be run
STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*", b"P5", b"P6")  # of their files
MOST_IMAGE_BYTES = 128 << 20  # of a file
# Pixels of an image that is decoded whole. At 4 bytes each, as they are and as RGB, 40 million take 320 MB.
MOST_PIXELS = 40_000_000
# WebP decodes into two copies: half as many.
MOST_JPEG_PIXELS = 170_000_000  # of a baseline JPEG, which is decoded some lines at a time
LARGE_PIXELS = 4_000_000  # pixels; of such images one at a time is decoded, whatever the number of threads

_one_large = threading.Lock()


class ImageError(ValueError):
    """Why an image cannot be read, for people: 'it is cut off'."""


def image_size(content: bytes | Path) -> tuple[int, int]:
    """(width, height) from the header, before any rotation. Raises ImageError."""
    with _opened(content) as image:
        return image.size


def decode_image(content: bytes | Path, side: int) -> "Array":
    """uint8 [side, side, 3]: the whole image, stretched to a square; the first frame of an animation.

    Turned as its EXIF tag says; transparent parts are white; 16 bits become 8. Raises ImageError.
    """
    with _opened(content) as image:
        pixels = image.width * image.height
        if image.format == "JPEG":
            image.draft(None, (2 * side, 2 * side))  # no smaller than that
        whole = image.format != "JPEG" or "progressive" in image.info
        most = MOST_JPEG_PIXELS if not whole else MOST_PIXELS // 2 if image.format == "WEBP" else MOST_PIXELS
        if pixels > most:
            raise ImageError(
                f"it has {image.width:,} x {image.height:,} pixels, more than the {most // 10**6} million that are read"
            )
        if pixels <= LARGE_PIXELS:
            return _square(image, side)
        with _one_large:
            return _square(image, side)


def _opened(content: bytes | Path) -> "Image":
    from PIL import Image, UnidentifiedImageError

    try:
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        if size == 0:
            raise ImageError("it is empty (0 bytes)")
        if size > MOST_IMAGE_BYTES:
            raise ImageError(f"it has {size:,} bytes, more than the {MOST_IMAGE_BYTES >> 20} MB that are read")
        return Image.open(io.BytesIO(content) if isinstance(content, bytes) else content, formats=IMAGE_FORMATS)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"it is none of {', '.join(IMAGE_FORMATS)}, or damaged") from error
    except Image.DecompressionBombError as error:
        raise ImageError("it has far more pixels than an image has") from error
    except FileNotFoundError as error:
        raise ImageError("there is no such file") from error
    except Exception as error:  # of a decoder that met what nobody has thought of
        raise ImageError(_reason(error)) from error


def _square(image: "Image", side: int) -> "Array":
    from PIL import Image, ImageOps

    try:
        image.load()
        if max(image.size) > 8 * side:  # smaller first: what comes after then takes little memory
            averaged = image.mode in ("RGB", "L", "RGBA", "CMYK")  # other modes have no colors to be averaged
            shape = (min(image.width, 4 * side), min(image.height, 4 * side))
            how = Image.Resampling.BILINEAR if averaged else Image.Resampling.NEAREST
            image = image.resize(shape, how, reducing_gap=2.0 if averaged else None)
        found = _rgb(ImageOps.exif_transpose(image))
        if found.size != (side, side):
            found = found.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
        return np.asarray(found, dtype=np.uint8)
    except ImageError:
        raise
    except Exception as error:  # OSError, SyntaxError, struct.error, EOFError, ...: of a damaged file
        raise ImageError(_reason(error)) from error


def _rgb(image: "Image") -> "Image":
    """Eight bits a color, on white where it is transparent."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":  # 16 or 32 bits a pixel, one color
        return _of_numbers(np.asarray(image)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        seen = image.convert("RGBA")
        ground = Image.new("RGBA", seen.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, seen).convert("RGB")
    return image.convert("RGB")


def _of_numbers(values: "Array") -> "Image":
    """Gray values as one byte each. Raises ImageError where it is not known what is white."""
    from PIL import Image

    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high < 2**16) or (values.dtype.kind == "f" and high > 1):
        raise ImageError("its gray values are no whole numbers of 16 bits; save it with 8 bits a color")
    top = 1.0 if values.dtype.kind == "f" else 255.0 if values.dtype.itemsize > 2 and high < 256 else 65_535.0
    return Image.fromarray((values * (255.0 / top) + 0.5).astype(np.uint8))


def _reason(error: Exception) -> str:
    said: Any = str(error)
    if "truncated" in said.lower() or isinstance(error, EOFError):
        return "it is cut off: the file ends before the image does"
    return f"it is damaged ({said or type(error).__name__})"
