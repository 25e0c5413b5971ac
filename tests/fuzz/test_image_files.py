"""Whatever an image file is called and whatever is in it, it is the picture that it holds, or unreadable."""

import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz.damage import examples
from tests.fuzz.test_images import KINDS, encoded
from trainables.config.data import DataConfig
from trainables.config.tasks import MulticlassTask
from trainables.data.images import Transform, decode_image
from trainables.data.prepare import prepare_data

GOOD, FILES = 8, 20
"""Files as they should be, so that there always are data, and others."""
SUFFIXES = [
    ".jpg",
    ".JPG",
    ".jpeg",
    ".png",
    ".gif",
    ".bmp",
    ".tif",
    ".webp",
    ".jp2",
    ".txt",
    ".csv",
    ".png.txt",
    "",
]


def huge() -> bytes:
    """A PNG of 90 bytes that claims to be 60,000 pixels wide and high."""
    whole = encoded("PNG", "L")
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + whole[24:29]
    return whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]


NO_PICTURES = [b"", b"\n", b"path,label\na.png,1\n", b"%PDF-1.7\n", b"PK\x03\x04", b"\x89PNG", huge()]
File = tuple[bytes, bool, str]
"""Content, whether it is a picture, and how the name ends."""


def drawn(draw: random.Random) -> File:
    picture = draw.random() < 0.5
    content = encoded(*draw.choice(KINDS)) if picture else draw.choice([*NO_PICTURES, draw.randbytes(200)])
    return content, picture, draw.choice(SUFFIXES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("renamed")


@pytest.mark.parametrize("seed", range(examples(10)))
def test_a_file_is_what_it_holds_and_not_what_it_is_called(seed: int, folder: Path) -> None:
    draw = random.Random(seed)
    everything: list[File] = [(encoded("PNG", "RGB"), True, ".png")] * GOOD
    everything += [drawn(draw) for _ in range(FILES)]
    lines = ["path,label,split"]
    for number, (content, _, suffix) in enumerate(everything):
        (folder / f"{number}{suffix}").write_bytes(content)
        lines.append(
            f"{number}{suffix},{'ab'[number % 2]},{['val', 'test'][number // 2] if number < 4 else 'train'}"
        )
    (folder / "labels.csv").write_text("\n".join(lines))
    section = {
        "source": "labels.csv",
        "image": "path",
        "image_size": [14, 20],
        "cache": str(folder / "cache"),
        "unreadable": "drop",
        "split": {"column": "split"},
    }
    tasks = {"label": MulticlassTask(label="label")}
    data = prepare_data(DataConfig.model_validate(section), tasks, seed=0, base=folder)
    ids = data.ids()
    rows = {ids[row]: row for split in data.splits.values() for row in split}
    pictures = {f"{n}{suffix}": content for n, (content, picture, suffix) in enumerate(everything) if picture}
    assert rows.keys() == pictures.keys()
    for name, row in rows.items():
        expected = decode_image(pictures[name], Transform((14, 20), data.images.shape[1], 10_000))
        np.testing.assert_array_equal(data.images[np.array([row])][0], expected)
