"""A small canvas for diagrams: Pillow alone, because importing matplotlib takes longer than drawing them all."""

import functools
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""
INK, FAINT, GRID, WHITE = (38, 42, 48), (110, 116, 124), (223, 226, 230), (255, 255, 255)
BLUE, PALE, ORANGE, RED = (33, 113, 181), (178, 205, 230), (255, 127, 14), (200, 40, 40)
PIXELATED = 96
"""Images with fewer pixels on a side are enlarged without smoothing: one sees what the model sees."""


class Canvas:
    """A white picture of `width` × `height` pixels to draw on."""

    def __init__(self, width: int, height: int) -> None:
        self._image = Image.new("RGB", (width, height), WHITE)
        self._draw = ImageDraw.Draw(self._image)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: int = 14,
        color: Color = INK,
        anchor: str = "la",
        width: float | None = None,
    ) -> None:
        """Write `text`, cut to `width` pixels; `anchor` as Pillow names it (la: its left top is at x, y)."""
        font = _font(size)
        if width is not None and font.getlength(text) > width:
            while text and font.getlength(f"{text}…") > width:
                text = text[:-1]
            text = f"{text}…"
        self._draw.text((x, y), text, font=font, fill=color, anchor=anchor)

    def box(self, box: Box, fill: Color | None, outline: Color | None = None, width: int = 1) -> None:
        """A filled or outlined rectangle."""
        self._draw.rectangle(box, fill=fill, outline=outline, width=width)

    def line(self, x0: float, y0: float, x1: float, y1: float, color: Color = GRID, width: int = 1) -> None:
        """A straight line."""
        self._draw.line((x0, y0, x1, y1), fill=color, width=width)

    def vertical(self, x: float, y: float, text: str, *, size: int = 14, color: Color = FAINT) -> None:
        """Write `text` upwards, centred on x, y."""
        font = _font(size)
        label = Image.new("RGB", (round(font.getlength(text)) + 4, size + 6), WHITE)
        ImageDraw.Draw(label).text((2, 2), text, font=font, fill=color)
        turned = label.rotate(90, expand=True)
        self._image.paste(turned, (round(x - turned.width / 2), round(y - turned.height / 2)))

    def picture(self, box: Box, pixels: NDArray[np.uint8]) -> None:
        """Place an image (C, H, W), as large as fits, in the middle of `box`."""
        array = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
        image = Image.fromarray(np.ascontiguousarray(array)).convert("RGB")
        width, height = box[2] - box[0], box[3] - box[1]
        scale = min(width / image.width, height / image.height)
        way = Image.Resampling.NEAREST if max(image.size) < PIXELATED else Image.Resampling.LANCZOS
        size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
        left, top = box[0] + (width - size[0]) / 2, box[1] + (height - size[1]) / 2
        self._image.paste(image.resize(size, way), (round(left), round(top)))

    def png(self) -> bytes:
        """The picture as a PNG file."""
        return _encoded(self._image, "PNG")

    def webp(self) -> bytes:
        """A smaller one for overviews, at most 512 pixels wide."""
        copy = self._image.copy()
        copy.thumbnail((512, 512))
        return _encoded(copy, "WEBP")


def shade(share: float) -> Color:
    """White for 0 to deep blue for 1."""
    low, high = np.array(WHITE), np.array((8, 60, 125))
    red, green, blue = (low + (high - low) * min(max(share, 0.0), 1.0) ** 0.6).astype(int).tolist()
    return red, green, blue


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _encoded(image: Image.Image, kind: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()
