"""Datasets that torchvision keeps as image files with annotations beside them."""

import csv
import io
import json
import pickle
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from trainables.data.folder import read_tree
from trainables.data.locations import Locations, read_image
from trainables.data.rows import EncodedImages, Rows
from trainables.data.torchvision_arrays import TEST, TRAIN, VAL, require
from trainables.errors import DataError


@dataclass
class _Listing:
    """Images as an annotation file lists them: path below a folder, split, and one label per column."""

    name: str
    folder: Path
    annotations: list[Path] = field(default_factory=list)
    entries: list[tuple[str, int, tuple[Any, ...]]] = field(default_factory=list)

    def lines(self, file: Path) -> list[str]:
        """The lines of an annotation file, which becomes one of those watched."""
        self.annotations.append(require(file, self.name))
        return file.read_text("utf-8").splitlines()

    def rows(self, columns: Sequence[str]) -> Rows:
        """The examples."""
        require(self.folder, self.name)
        locations = Locations(self.folder)
        entries = sorted(self.entries, key=lambda entry: entry[0])
        files = [locations.find(path, self.name) for path, _, _ in entries]
        return Rows(
            name=f"torchvision:{self.name}",
            ids=[path for path, _, _ in entries],
            images=EncodedImages(files, read_image),
            columns={
                column: lambda n=n: [labels[n] for _, _, labels in entries]  # type: ignore[misc]
                for n, column in enumerate(columns)
            },
            split=np.array([split for _, split, _ in entries], dtype=np.int8),
            places=[str(file) for file in files],
            watched=(*self.annotations, *(Path(file) for file in files)),
        )


def read_celeba(root: Path, name: str) -> Rows:
    """CelebA, aligned: its 40 attributes as columns of 1 and 0, and `identity` where that file is there."""
    folder = root / "celeba"
    listing = _Listing(name, folder / "img_align_celeba")
    _, header, *lines = listing.lines(folder / "list_attr_celeba.txt")
    attributes = header.split()
    part = dict(line.split() for line in listing.lines(folder / "list_eval_partition.txt") if line.strip())
    identity: dict[str, str] | None = None
    if (folder / "identity_CelebA.txt").is_file():
        identity = dict(
            line.split() for line in listing.lines(folder / "identity_CelebA.txt") if line.strip()
        )
        attributes.append("identity")
    for line in lines:
        if line.strip():
            file, *values = line.split()
            labels: list[int | str | None] = [int(value == "1") for value in values]
            if identity is not None:
                labels.append(identity.get(file))
            listing.entries.append((file, int(part[file]), tuple(labels)))
    return listing.rows(attributes)


def read_oxford_pet(root: Path, name: str) -> Rows:
    """Oxford-IIIT Pet: columns `category` (37 breeds) and `species` (cat, dog)."""
    folder = root / "oxford-iiit-pet"
    listing = _Listing(name, folder / "images")
    for part, split in (("trainval", TRAIN), ("test", TEST)):
        for line in listing.lines(folder / "annotations" / f"{part}.txt"):
            image, _, species, _ = line.split()
            breed = " ".join(word.title() for word in image.rsplit("_", 1)[0].split("_"))
            listing.entries.append((f"{image}.jpg", split, (breed, {"1": "cat", "2": "dog"}[species])))
    return listing.rows(("category", "species"))


def read_flowers102(root: Path, name: str) -> Rows:
    """Oxford Flowers 102: column `label`, the numbers 1 to 102 of its files."""
    folder = root / "flowers-102"
    listing = _Listing(name, folder / "jpg")
    labels = _matlab(listing, folder / "imagelabels.mat")["labels"]
    sets = _matlab(listing, folder / "setid.mat")
    for part, split in (("trnid", TRAIN), ("valid", VAL), ("tstid", TEST)):
        for number in np.atleast_1d(sets[part]).tolist():
            listing.entries.append((f"image_{number:05d}.jpg", split, (int(labels[number - 1]),)))
    return listing.rows(("label",))


def read_fgvc_aircraft(root: Path, name: str) -> Rows:
    """FGVC-Aircraft: columns `variant`, `family` and `manufacturer`, each within the next."""
    folder = root / "fgvc-aircraft-2013b" / "data"
    listing = _Listing(name, folder / "images")
    levels = ("variant", "family", "manufacturer")
    for part, split in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        tables = [
            dict(line.split(" ", 1) for line in listing.lines(folder / f"images_{level}_{part}.txt"))
            for level in levels
        ]
        for image in tables[0]:
            listing.entries.append((f"{image}.jpg", split, tuple(table.get(image) for table in tables)))
    return listing.rows(levels)


def read_food101(root: Path, name: str) -> Rows:
    """Food-101: column `label`."""
    folder = root / "food-101"
    listing = _Listing(name, folder / "images")
    for part, split in (("train", TRAIN), ("test", TEST)):
        table = json.loads("\n".join(listing.lines(folder / "meta" / f"{part}.json")))
        for label, images in table.items():
            listing.entries += [(f"{image}.jpg", split, (label,)) for image in images]
    return listing.rows(("label",))


def read_dtd(root: Path, name: str) -> Rows:
    """Describable Textures, partition 1: column `label`."""
    folder = root / "dtd" / "dtd"
    listing = _Listing(name, folder / "images")
    for part, split in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        for line in listing.lines(folder / "labels" / f"{part}1.txt"):
            listing.entries.append((line.strip(), split, (line.split("/")[0],)))
    return listing.rows(("label",))


def read_stanford_cars(root: Path, name: str) -> Rows:
    """Stanford Cars: column `label`."""
    folder = root / "stanford_cars"
    listing = _Listing(name, folder)
    classes = _matlab(listing, folder / "devkit" / "cars_meta.mat")["class_names"].tolist()
    for file, images, split in (
        (folder / "devkit" / "cars_train_annos.mat", "cars_train", TRAIN),
        (folder / "cars_test_annos_withlabels.mat", "cars_test", TEST),
    ):
        for row in np.atleast_1d(_matlab(listing, file)["annotations"]):
            label = classes[int(row["class"]) - 1]
            listing.entries.append((f"{images}/{row['fname']}", split, (label,)))
    return listing.rows(("label",))


def read_gtsrb(root: Path, name: str) -> Rows:
    """German traffic signs: column `label`, the class numbers."""
    folder = root / "gtsrb"
    listing = _Listing(name, folder / "GTSRB")
    training = require(folder / "GTSRB" / "Training", name)
    for file in sorted(training.glob("*/*.ppm")):
        listing.entries.append((str(file.relative_to(listing.folder)), TRAIN, (int(file.parent.name),)))
    lines = listing.lines(folder / "GT-final_test.csv")
    for row in csv.DictReader(lines, delimiter=";", skipinitialspace=True):
        path = f"Final_Test/Images/{row['Filename']}"
        listing.entries.append((path, TEST, (int(row["ClassId"]),)))
    rows = listing.rows(("label",))
    folders = [path for path in training.iterdir() if path.is_dir()]
    return replace(rows, watched=(*rows.watched, training, *folders))


def read_imagenet(root: Path, name: str) -> Rows:
    """ImageNet: columns `label` (WordNet id) and `name`, where torchvision's `meta.bin` is there.

    The official validation images are the validation split; there are no labels of the test images.
    """
    for part in ("train", "val"):
        require(root / part, name)
    rows = replace(read_tree(root, root, ("train", "val")), name=f"torchvision:{name}")
    meta = root / "meta.bin"
    if not meta.is_file():
        return rows
    words = _wordnet_names(meta)
    wnids = list(rows.columns["label"]())
    names = [words.get(wnid, (wnid,))[0] for wnid in wnids]
    return replace(rows, columns={**rows.columns, "name": lambda: names}, watched=(*rows.watched, meta))


def tree_reader(below: str, without: Iterable[str] = ()) -> Callable[[Path, str], Rows]:
    """A reader of a class-per-folder tree at this place below the root, less some folders: column `label`."""
    excluded = tuple(without)

    def read(root: Path, name: str) -> Rows:
        tree = require(root / below, name)
        rows = replace(read_tree(tree, tree), name=f"torchvision:{name}")
        if not excluded:
            return rows
        labels = rows.columns["label"]()
        return rows.take(np.flatnonzero([label not in excluded for label in labels]))

    return read


def _matlab(listing: _Listing, file: Path) -> Mapping[str, Any]:
    from scipy.io import loadmat  # takes a third of a second

    listing.annotations.append(require(file, listing.name))
    try:
        found: Mapping[str, Any] = loadmat(file, squeeze_me=True)
    except (ValueError, OSError, TypeError) as error:
        raise DataError(
            f"torchvision:{listing.name}: {file} is damaged: {error}.", "Get the dataset again.", "data.root"
        ) from error
    return found


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles dicts, lists, tuples and text alone."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _wordnet_names(meta: Path) -> dict[str, tuple[str, ...]]:
    """Class names by WordNet id, from a file that torch.save wrote: a pickle inside a zip archive."""
    try:
        with zipfile.ZipFile(meta) as archive:
            (member,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            names, _ = _PlainUnpickler(io.BytesIO(archive.read(member))).load()
    except (zipfile.BadZipFile, pickle.UnpicklingError, ValueError, EOFError, OSError) as error:
        raise DataError(
            f"{meta} cannot be read: {error}.",
            "Delete it; the labels are then the folder names.",
            "data.root",
        ) from error
    return dict(names)
