"""From encoded bytes or arrays to uint8 (C, H, W), as a person sees the picture."""

import functools
import importlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

PLUGINS = {
    "JPEG": "JpegImagePlugin",  # and with it MPO
    "PNG": "PngImagePlugin",
    "GIF": "GifImagePlugin",
    "BMP": "BmpImagePlugin",
    "TIFF": "TiffImagePlugin",
    "WEBP": "WebPImagePlugin",
    "PPM": "PpmImagePlugin",
    "JPEG2000": "Jpeg2KImagePlugin",
    "AVIF": "AvifImagePlugin",
}
"""What is read, and by what. Formats that run other programs (EPS) or that nobody photographs in stay out."""

PILLOW_LIMIT = 178_956_970
"""Pixels above which Pillow itself refuses an image."""


class UnreadableImageError(Exception):
    """Why an image cannot be used."""


@dataclass(frozen=True)
class Transform:
    """How images become one shape.

    An image is scaled, with antialiasing, until it just covers `size`, and what sticks out on one axis is cut
    off equally at both ends; its proportions never change.

    Attributes:
        size: (height, width); None: as they are.
        channels: 1 grey (ITU-R 601 luma) or 3 RGB; None: 1 if all are grey.
        max_pixels: larger images are refused before they are decoded.
    """

    size: tuple[int, int] | None
    channels: int | None
    max_pixels: int


@dataclass(frozen=True)
class Header:
    """What is known of an image before it is decoded: (height, width) as seen, and whether it is grey."""

    size: tuple[int, int]
    grey: bool


def silence_pillow() -> None:
    """Silence Pillow's warnings, whose subjects are judged here, for the process; to be called before threads start.

    Not for a while only: `warnings.catch_warnings` puts back the filters of all threads as they were, and takes
    away those that another one has set meanwhile, such as those of a package that it is importing.
    """
    _formats()
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def read_header(encoded: bytes, max_pixels: int) -> Header:
    """Size and greyness without decoding.

    Raises:
        UnreadableImageError: not an image, or too large.
    """
    with _opened(encoded, max_pixels) as image:
        width, height = image.size
        # On its side, which Pillow allows for by itself in the size of a TIFF.
        if image.format != "TIFF" and _orientation(image) >= 5:
            width, height = height, width
        return Header((height, width), _is_grey(image))


def decode_image(encoded: bytes, transform: Transform) -> NDArray[np.uint8]:
    """Decode, turn upright, lay on white, convert, and bring to size: uint8 (C, H, W).

    Raises:
        UnreadableImageError: not an image, damaged, truncated, or too large.
    """
    if transform.channels is None:
        raise ValueError("the number of channels must be settled before decoding")
    with _opened(encoded, transform.max_pixels) as image:
        if transform.size is not None and image.format == "JPEG":
            # JPEG decodes cheaply at 1/2, 1/4 or 1/8; twice the wanted size is left for the antialiasing.
            side = 2 * max(transform.size)
            image.draft(None, (side, side))
        upright = ImageOps.exif_transpose(image) if _orientation(image) > 1 else image
        return _shaped(_converted(upright, transform.channels), transform.size)


def shape_array(pixels: NDArray[np.uint8], transform: Transform) -> NDArray[np.uint8]:
    """(B, H, W) grey or (B, H, W, 3) RGB to uint8 (B, C, H', W'); copies nothing that is right already."""
    if transform.size in (None, pixels.shape[1:3]) and (pixels.ndim == 3) == (transform.channels == 1):
        return pixels[:, None] if pixels.ndim == 3 else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    mode = "L" if transform.channels == 1 else "RGB"
    return np.stack([_shaped(Image.fromarray(image).convert(mode), transform.size) for image in pixels])


@contextmanager
def _opened(encoded: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """The image, not decoded yet; whatever goes wrong with it then is its own fault."""
    if not encoded:
        raise UnreadableImageError("it is empty")
    try:
        with Image.open(io.BytesIO(encoded), formats=_formats()) as image:
            if image.width * image.height > max_pixels:
                size = f"{image.width} × {image.height}"
                raise UnreadableImageError(f"{size} pixels are more than data.max_pixels ({max_pixels})")
            yield image
    except (UnreadableImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImageError("not an image in a format that is read here") from error
    except Image.DecompressionBombError as error:
        reason = f"more than {PILLOW_LIMIT} pixels (data.max_pixels is {max_pixels})"
        raise UnreadableImageError(reason) from error
    except Exception as error:
        # Damaged files make Pillow's readers raise nearly anything.
        raise UnreadableImageError(str(error) or type(error).__name__) from error


def _orientation(image: Image.Image) -> int:
    """1 upright to 8, as the camera noted it; an image whose notes are damaged is taken as it is."""
    try:
        noted = image.getexif().get(0x0112, 1)
    except MemoryError:
        raise
    except Exception:
        return 1
    return noted if isinstance(noted, int) and 1 <= noted <= 8 else 1


@functools.cache
def _formats() -> tuple[str, ...]:
    """The formats that this Pillow can read. Imported here, because Pillow's own way imports forty more."""
    for plugin in PLUGINS.values():
        importlib.import_module(f"PIL.{plugin}")
    return tuple(name for name in PLUGINS if name in Image.OPEN)


def _is_grey(image: Image.Image) -> bool:
    if image.mode in ("P", "PA"):
        if image.palette is None:
            return False
        mode, palette = image.palette.getdata()
        bands = len(mode.split(";")[0])
        entries = np.frombuffer(palette, dtype=np.uint8)
        colours = entries[: len(entries) // bands * bands].reshape(-1, bands)[:, :3]
        return bool((colours == colours[:, :1]).all())
    return image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;")


def _converted(image: Image.Image, channels: int) -> Image.Image:
    """Mode L or RGB, transparent parts on white."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = _from_16_bit(image)
    elif image.mode == "F":
        raise ValueError("an image of floats does not say what white is")
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        alpha = image.convert("RGBA")
        image = Image.new("RGBA", alpha.size, (255, 255, 255, 255))
        image.alpha_composite(alpha)
    if channels == 1:
        # From CMYK and the like to grey by way of RGB, or the two ways of asking would differ.
        return (
            image.convert("L")
            if image.mode in ("1", "L", "RGB", "RGBA")
            else image.convert("RGB").convert("L")
        )
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise ValueError("an image of 32-bit integers does not say what white is")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _shaped(image: Image.Image, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    if size is not None and image.size != (size[1], size[0]):
        image = ImageOps.fit(image, (size[1], size[0]), method=Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
