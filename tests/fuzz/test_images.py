"""Whatever bytes a file holds, they are an image of the right shape or unreadable for a reason that is said."""

import functools
import io

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from tests.fuzz.damage import damaged, examples
from tests.trainables.data.pictures import smooth
from trainables.data.images import Transform, UnreadableImageError, decode_image, read_header, silence_pillow

FORMATS = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"]
MODES = {
    "JPEG": ["L", "RGB", "CMYK"],
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "TIFF": ["1", "L", "RGB", "RGBA", "CMYK", "I;16"],
    "GIF": ["P"],
    "PPM": ["L", "RGB"],
    "BMP": ["1", "L", "P", "RGB"],
    "WEBP": ["RGB", "RGBA"],
    "JPEG2000": ["L", "RGB"],
}
KINDS = [(kind, mode) for kind in FORMATS for mode in MODES[kind]]


@functools.cache
def encoded(kind: str, mode: str) -> bytes:
    """A good file of 20 × 14 pixels; GIFs move."""
    picture = Image.fromarray(smooth(14, 20))
    if mode == "I;16":
        picture = Image.fromarray(smooth(14, 20)[..., 0].astype(np.uint16) * 257)
    elif mode != "RGB":
        picture = picture.convert(mode)
    stream = io.BytesIO()
    more = {"save_all": True, "append_images": [picture.rotate(90)]} if kind == "GIF" else {}
    picture.save(stream, kind, **more)
    return stream.getvalue()


def read(content: bytes, channels: int, size: tuple[int, int] | None) -> None:
    """Both ways of reading agree on what they say."""
    transform = Transform(size, channels, max_pixels=200_000)
    try:
        header = read_header(content, transform.max_pixels)
        pixels = decode_image(content, transform)
    except UnreadableImageError as error:
        assert str(error)
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape == (channels, *(size or header.size))


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    silence_pillow()


@pytest.mark.parametrize(("kind", "mode"), KINDS)
def test_the_undamaged_file_is_an_image(kind: str, mode: str) -> None:
    assert decode_image(encoded(kind, mode), Transform(None, 3, 10_000)).shape == (3, 14, 20)


@settings(max_examples=examples(300), deadline=None)
@given(
    st.sampled_from(KINDS).flatmap(lambda kind: damaged(encoded(*kind))),
    st.sampled_from([1, 3]),
    st.sampled_from([None, (8, 8), (1, 5)]),
)
def test_a_damaged_file_is_an_image_or_says_why_not(
    content: bytes, channels: int, size: tuple[int, int] | None
) -> None:
    read(content, channels, size)


@settings(max_examples=examples(100), deadline=None)
@given(st.sampled_from(KINDS), st.binary(max_size=80), st.integers(2, 24))
def test_a_header_with_anything_after_it_is_an_image_or_says_why_not(
    kind: tuple[str, str], rest: bytes, kept: int
) -> None:
    read(encoded(*kind)[:kept] + rest, 3, (8, 8))
