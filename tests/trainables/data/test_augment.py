"""Laws of augmentation."""

from typing import Any

import numpy as np
import pytest
import torch

from trainables.config.data import Augmentation
from trainables.data.augment import augment

IMAGES = torch.rand(24, 3, 20, 16, generator=torch.Generator().manual_seed(0))
IDS = np.arange(100, 124)
EVERY: list[Any] = [
    "light",
    "strong",
    *((Augmentation(name=name),) for name in ("crop", "flip", "rotate", "brightness", "contrast", "erase")),
]


def named(config: Any) -> str:
    return config if isinstance(config, str) else str(config[0].name)


@pytest.mark.parametrize("config", EVERY, ids=named)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.uint8])
def test_an_example_looks_the_same_in_any_batch(config: Any, kind: torch.dtype) -> None:
    images = (IMAGES * 255).to(torch.uint8) if kind == torch.uint8 else IMAGES.to(kind)
    before = images.clone()
    whole = augment(images, IDS, seed=1, epoch=2, config=config)
    order = np.random.default_rng(0).permutation(len(IDS))
    shuffled = augment(images[order], IDS[order], seed=1, epoch=2, config=config)
    assert torch.equal(whole[order], shuffled)
    parts = [
        augment(images[a:b], IDS[a:b], seed=1, epoch=2, config=config) for a, b in ((0, 1), (1, 9), (9, 24))
    ]
    # Vectorised arithmetic may round a lone image otherwise in the last digit.
    assert torch.allclose(whole.double(), torch.cat(parts).double(), rtol=0, atol=1e-4)
    assert torch.equal(images, before)
    assert whole.shape == images.shape
    assert whole.min() >= 0
    assert whole.max() <= (255 if kind == torch.uint8 else 1)


@pytest.mark.parametrize("config", EVERY, ids=named)
def test_epochs_seeds_and_examples_differ(config: Any) -> None:
    def look(seed: int, epoch: int, first: int) -> torch.Tensor:
        return augment(IMAGES, IDS + first, seed=seed, epoch=epoch, config=config)

    looks = [look(0, 0, 0), look(1, 0, 0), look(0, 1, 0), look(0, 0, 50)]
    assert all(not torch.equal(a, b) for n, a in enumerate(looks) for b in looks[:n])


@pytest.mark.parametrize("config", EVERY, ids=named)
def test_bytes_and_floats_agree(config: Any) -> None:
    whole = (IMAGES * 255).to(torch.uint8)
    as_bytes = augment(whole, IDS, seed=0, epoch=0, config=config).float() / 255
    as_floats = augment(whole.float() / 255, IDS, seed=0, epoch=0, config=config)
    assert torch.allclose(as_bytes, as_floats, atol=1e-5)


def test_none_changes_nothing() -> None:
    assert augment(IMAGES, IDS, seed=0, epoch=0, config="none") is IMAGES


def test_crop_shifts_by_whole_pixels() -> None:
    found = augment(IMAGES, IDS, seed=0, epoch=0, config=(Augmentation(name="crop", amount=0.25),))
    shifts = set()
    for before, after in zip(IMAGES, found, strict=True):
        matches = [
            (dy, dx)
            for dy in range(-5, 6)
            for dx in range(-4, 5)
            if torch.equal(
                after[:, max(0, -dy) : 20 - max(0, dy), max(0, -dx) : 16 - max(0, dx)],
                before[:, max(0, dy) : 20 + min(0, dy), max(0, dx) : 16 + min(0, dx)],
            )
        ]
        assert len(matches) == 1
        shifts.update(matches)
    assert len(shifts) > 15


def test_flip_mirrors_about_half() -> None:
    found = augment(
        IMAGES.repeat(20, 1, 1, 1), np.arange(480), seed=0, epoch=0, config=[Augmentation(name="flip")]
    )
    flipped = [torch.equal(a, b.flip(-1)) for a, b in zip(found, IMAGES.repeat(20, 1, 1, 1), strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(found, IMAGES.repeat(20, 1, 1, 1), strict=True)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    assert 190 < sum(flipped) < 290


def test_rotation_turns_without_distortion() -> None:
    """A disc on a wide canvas stays where it is, and a bar keeps its length."""
    y, x = torch.meshgrid(torch.arange(31) - 15, torch.arange(61) - 30, indexing="ij")
    disc = ((y**2 + x**2) < 100).float()[None, None].repeat(16, 1, 1, 1)
    turned = augment(disc, IDS[:16], seed=0, epoch=0, config=[Augmentation(name="rotate", amount=90)])
    assert (turned - disc).abs().mean() < 0.02
    bar = ((y.abs() <= 1) & (x.abs() <= 12)).float()[None, None].repeat(16, 1, 1, 1)
    turned = augment(bar, IDS[:16], seed=0, epoch=0, config=[Augmentation(name="rotate", amount=90)])
    assert torch.allclose(turned.sum(dim=(1, 2, 3)), bar.sum(dim=(1, 2, 3)), rtol=0.06)


def test_brightness_and_contrast_scale_about_black_and_the_mean() -> None:
    grey = 0.25 + 0.25 * IMAGES
    brighter = augment(grey, IDS, seed=0, epoch=0, config=[Augmentation(name="brightness", amount=0.5)])
    ratio = (brighter / grey).flatten(1)
    assert (ratio.max(1).values - ratio.min(1).values).max() < 1e-4
    assert ratio.min() >= 0.5
    assert ratio.max() <= 1.5
    sharper = augment(grey, IDS, seed=0, epoch=0, config=[Augmentation(name="contrast", amount=0.5)])
    assert torch.allclose(sharper.mean(dim=(1, 2, 3)), grey.mean(dim=(1, 2, 3)), atol=1e-5)


def test_erase_takes_one_rectangle_of_bounded_area() -> None:
    config = [Augmentation(name="erase", amount=0.3, p=1)]
    found = augment(IMAGES, IDS, seed=0, epoch=0, config=config)
    for changed in (found != IMAGES).any(dim=1):
        rows, columns = changed.any(dim=1).nonzero(), changed.any(dim=0).nonzero()
        if len(rows):
            height, width = int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
            assert int(changed.sum()) == height * width
            assert height * width <= 0.3 * 320 * 1.4  # whole pixels


@pytest.mark.parametrize("name", ["crop", "rotate", "brightness", "contrast", "erase", "flip"])
def test_probability(name: str) -> None:
    config = [Augmentation.model_validate({"name": name, "p": 0.25})]
    images = IMAGES.repeat(25, 1, 1, 1)
    found = augment(images, np.arange(600), seed=0, epoch=0, config=config)
    changed = (found != images).flatten(1).any(dim=1).float().mean()
    assert 0.15 < changed < 0.33


@pytest.mark.parametrize("bad", [{"name": "flip", "amount": 1.0}, {"name": "crop", "amount": 1.5}])
def test_impossible_amounts_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="amount"):
        Augmentation.model_validate(bad)
