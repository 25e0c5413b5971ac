"""However a picture is saved, it is seen alike."""

import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.trainables.data.pictures import smooth
from trainables.data.cache import Cache
from trainables.data.chunks import Wanted, decoded_chunks
from trainables.data.images import (
    Transform,
    UnreadableImageError,
    decode_image,
    read_header,
    shape_array,
    silence_pillow,
)
from trainables.data.rows import EncodedImages

LIMIT = 1_000_000
RGB = Transform(None, 3, LIMIT)
GREY = Transform(None, 1, LIMIT)

Saver = Callable[[Image.Image], bytes]


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def turned(orientation: int, back: Image.Transpose) -> Saver:
    """As a camera held the wrong way saves it: pixels turned, and a tag that says how."""

    def save(image: Image.Image) -> bytes:
        exif = Image.Exif()
        exif[0x0112] = orientation
        return encoded(image.transpose(back), "JPEG", quality=98, exif=exif)

    return save


def with_alpha(image: Image.Image) -> bytes:
    """Half-transparent over white gives the picture: c = 255 + (v - 255) / a."""
    alpha = 192
    values = 255 + (np.asarray(image).astype(float) - 255) * 255 / alpha
    opaque = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return encoded(Image.fromarray(np.dstack([opaque, np.full(opaque.shape[:2], alpha, np.uint8)])), "PNG")


COLOURED: dict[str, tuple[Saver, float]] = {
    "png": (lambda image: encoded(image, "PNG"), 0),
    "bmp": (lambda image: encoded(image, "BMP"), 0),
    "tiff": (lambda image: encoded(image, "TIFF"), 0),
    "webp": (lambda image: encoded(image, "WEBP", lossless=True), 0),
    "jpeg": (lambda image: encoded(image, "JPEG", quality=98), 6),
    "palette": (lambda image: encoded(image.quantize(256), "PNG"), 16),
    "gif": (lambda image: encoded(image.quantize(256), "GIF"), 16),
    "opaque alpha": (lambda image: encoded(image.convert("RGBA"), "PNG"), 0),
    "cmyk tiff": (lambda image: encoded(image.convert("CMYK"), "TIFF"), 2),
    "cmyk jpeg": (lambda image: encoded(image.convert("CMYK"), "JPEG", quality=98), 12),
    "upside down": (turned(3, Image.Transpose.ROTATE_180), 6),
    "on its side": (turned(6, Image.Transpose.ROTATE_90), 6),
    "on its other side": (turned(8, Image.Transpose.ROTATE_270), 6),
    "mirrored": (turned(2, Image.Transpose.FLIP_LEFT_RIGHT), 6),
    "animated": (
        lambda image: encoded(image, "PNG", save_all=True, append_images=[Image.new("RGB", image.size)]),
        0,
    ),
}

GREYS: dict[str, tuple[Saver, float]] = {
    "L": (lambda image: encoded(image, "PNG"), 0),
    "RGB": (lambda image: encoded(image.convert("RGB"), "PNG"), 0),
    "LA": (lambda image: encoded(image.convert("LA"), "PNG"), 0),
    "palette": (lambda image: encoded(image.convert("P"), "PNG"), 0),
    "16 bit png": (lambda image: encoded(sixteen(image), "PNG"), 0),
    "16 bit tiff": (lambda image: encoded(sixteen(image), "TIFF"), 0),
    "jpeg": (lambda image: encoded(image, "JPEG", quality=98), 4),
    "pgm": (lambda image: encoded(image, "PPM"), 0),
}


def sixteen(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image).astype(np.uint16) * 257)


def apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    assert one.shape == other.shape
    return int(abs(one.astype(int) - other).max())


@pytest.mark.parametrize("kind", COLOURED)
def test_one_picture_in_every_form(kind: str) -> None:
    save, tolerance = COLOURED[kind]
    picture = smooth(24, 32)
    found = decode_image(save(Image.fromarray(picture)), RGB)
    assert apart(found, picture.transpose(2, 0, 1)) <= tolerance


@pytest.mark.parametrize("kind", GREYS)
def test_one_grey_picture_in_every_form(kind: str) -> None:
    save, tolerance = GREYS[kind]
    picture = smooth(24, 32)[..., 0]
    content = save(Image.fromarray(picture))
    assert apart(decode_image(content, GREY), picture[None]) <= tolerance
    assert apart(decode_image(content, RGB), np.repeat(picture[None], 3, axis=0)) <= tolerance


def test_what_is_transparent_lies_on_white() -> None:
    picture = np.maximum(smooth(24, 32), 100)
    assert apart(decode_image(with_alpha(Image.fromarray(picture)), RGB), picture.transpose(2, 0, 1)) <= 2
    clear = encoded(Image.new("RGBA", (4, 4), (9, 9, 9, 0)), "PNG")
    assert (decode_image(clear, RGB) == 255).all()
    keyed = Image.new("L", (4, 4), 7)
    assert (decode_image(encoded(keyed, "PNG", transparency=7), GREY) == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_header_tells_size_as_seen(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(smooth(10, 20)), kind, exif=exif)
    assert read_header(content, LIMIT).size == decode_image(content, RGB).shape[1:]


@pytest.mark.parametrize("kind", GREYS)
def test_grey_is_known_from_the_header(kind: str) -> None:
    content = GREYS[kind][0](Image.fromarray(smooth(8, 8)[..., 0]))
    assert read_header(content, LIMIT).grey == (kind != "RGB")


def test_a_coloured_palette_is_not_grey() -> None:
    assert not read_header(encoded(Image.fromarray(smooth(8, 8)).quantize(16), "PNG"), LIMIT).grey


@pytest.mark.parametrize("shape", [(32, 32), (20, 48), (48, 20), (33, 21)])
def test_size_is_covered_and_proportions_are_kept(shape: tuple[int, int]) -> None:
    """A centred disc stays a centred disc."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    radius = min(shape) * 0.35
    inside = (y - shape[0] / 2 + 0.5) ** 2 + (x - shape[1] / 2 + 0.5) ** 2 < radius**2
    content = encoded(Image.fromarray((inside * 255).astype(np.uint8)), "PNG")
    found = decode_image(content, Transform((16, 16), 1, LIMIT))[0] / 255.0
    assert found.shape == (16, 16)
    rows, columns = found.sum(axis=1), found.sum(axis=0)
    assert np.allclose(rows, rows[::-1], atol=0.2)
    assert np.allclose(rows, columns, atol=0.3)
    assert found.sum() == pytest.approx(np.pi * (16 * 0.35) ** 2, rel=0.08)


def test_scaling_down_is_antialiased() -> None:
    """A fine checkerboard becomes grey, not black or white."""
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    found = decode_image(encoded(Image.fromarray(board), "PNG"), Transform((8, 8), 1, LIMIT))
    assert abs(found.astype(int) - 127).max() <= 8


def test_large_jpegs_take_a_short_cut_that_does_not_show() -> None:
    content = encoded(Image.fromarray(smooth(400, 600)), "JPEG", quality=95)
    png = encoded(Image.open(io.BytesIO(content)), "PNG")
    small = Transform((24, 36), 3, LIMIT)
    assert apart(decode_image(content, small), decode_image(png, small)) <= 4


def test_arrays_are_shaped_like_files() -> None:
    pictures = np.stack([smooth(20, 30), smooth(20, 30)[::-1]])
    for transform in (RGB, GREY, Transform((8, 8), 3, LIMIT), Transform((8, 8), 1, LIMIT)):
        files = np.stack([decode_image(encoded(Image.fromarray(p), "PNG"), transform) for p in pictures])
        assert apart(shape_array(pictures, transform), files) == 0
    grey = pictures[..., 0]
    files = np.stack([decode_image(encoded(Image.fromarray(p), "PNG"), RGB) for p in grey])
    assert apart(shape_array(grey, RGB), files) == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"not an image", "not an image"),
        (encoded(Image.fromarray(smooth()), "PNG")[:200], "truncated"),
        (encoded(Image.fromarray(smooth()), "JPEG")[:-100], "truncated"),
        (encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "floats"),
        (encoded(Image.fromarray(np.full((4, 4), 70_000, np.int32)), "TIFF"), "32-bit"),
    ],
)
def test_unreadable(content: bytes, reason: str) -> None:
    silence_pillow()
    with pytest.raises(UnreadableImageError, match=reason):
        decode_image(content, RGB)


def chunks_of_three(folder: Path) -> Iterator[object]:
    pixels = [encoded(Image.new("L", (4, 4)), "PNG")] * 3
    images = EncodedImages(items=range(3), read=lambda item: pixels[item])
    return decoded_chunks(images, Wanted((4, 4), 1, LIMIT), folder, Cache(folder.parent))


def test_decoding_keeps_the_warning_filters_that_another_thread_sets_meanwhile(tmp_path: Path) -> None:
    """As a package does that is being imported while images are decoded."""

    class Others(Warning): ...

    chunks = chunks_of_three(tmp_path / "fetched")
    next(chunks)
    warnings.simplefilter("ignore", Others)
    assert list(chunks) == []
    warnings.warn("not to be seen", Others, stacklevel=1)


def test_decoding_removes_no_folder_that_it_did_not_make(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    assert len(list(chunks_of_three(precious))) == 1
    assert precious.is_dir()


def test_decompression_bombs_are_refused_before_they_are_decoded() -> None:
    bomb = encoded(Image.new("1", (14_000, 14_000)), "PNG")
    silence_pillow()
    with pytest.raises(UnreadableImageError, match="pixels"):
        read_header(bomb, 64_000_000)
    large = encoded(Image.new("1", (2_000, 1_000)), "PNG")
    with pytest.raises(UnreadableImageError, match="max_pixels"):
        decode_image(large, RGB)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"])
def test_damaged_files_are_unreadable_and_nothing_worse(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif} if kind in ("JPEG", "PNG", "TIFF", "WEBP") else {}
    image = Image.fromarray(smooth(12, 12))
    content = encoded(image.quantize() if kind == "GIF" else image, kind, **options)
    rng = np.random.default_rng(0)
    outcomes = set()
    silence_pillow()
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 6)).tolist():
            damaged[place] = rng.integers(0, 256)
        kept = bytes(damaged[: rng.integers(1, len(content) + 1)]) if rng.random() < 0.3 else bytes(damaged)
        try:
            read_header(kept, LIMIT)
            outcomes.add(decode_image(kept, Transform((8, 8), 3, LIMIT)).shape)
        except UnreadableImageError:
            outcomes.add(())
    assert outcomes == {(3, 8, 8), ()}
