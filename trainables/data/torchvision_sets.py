"""`torchvision:NAME`: the classification datasets that torchvision downloads, read from where it puts them.

The files are read in their own formats and torchvision is not imported: it would cost seconds wherever a
search is started. Nothing is downloaded; `data.root` is what torchvision calls `root`.
"""

import difflib
from collections.abc import Callable
from pathlib import Path

from trainables.data import torchvision_arrays as arrays
from trainables.data import torchvision_files as files
from trainables.data.rows import Rows
from trainables.errors import DataError

Reader = Callable[[Path, str], Rows]

READERS: dict[str, Reader] = {
    "MNIST": arrays.read_mnist,
    "FashionMNIST": arrays.read_mnist,
    "KMNIST": arrays.read_mnist,
    "EMNIST": arrays.read_emnist,
    "EMNIST-balanced": arrays.read_emnist,
    "EMNIST-byclass": arrays.read_emnist,
    "EMNIST-bymerge": arrays.read_emnist,
    "EMNIST-digits": arrays.read_emnist,
    "EMNIST-letters": arrays.read_emnist,
    "EMNIST-mnist": arrays.read_emnist,
    "CIFAR10": arrays.read_cifar10,
    "CIFAR100": arrays.read_cifar100,
    "SVHN": arrays.read_svhn,
    "STL10": arrays.read_stl10,
    "FER2013": arrays.read_fer2013,
    "CelebA": files.read_celeba,
    "OxfordIIITPet": files.read_oxford_pet,
    "Flowers102": files.read_flowers102,
    "FGVCAircraft": files.read_fgvc_aircraft,
    "Food101": files.read_food101,
    "DTD": files.read_dtd,
    "StanfordCars": files.read_stanford_cars,
    "GTSRB": files.read_gtsrb,
    "ImageNet": files.read_imagenet,
    "Imagenette": files.tree_reader("imagenette2"),
    "EuroSAT": files.tree_reader("eurosat/2750"),
    "RenderedSST2": files.tree_reader("rendered-sst2"),
    "Country211": files.tree_reader("country211"),
    "Caltech101": files.tree_reader("caltech101/101_ObjectCategories", without=("BACKGROUND_Google",)),
    "Caltech256": files.tree_reader("caltech256/256_ObjectCategories"),
}
"""By torchvision's name of the dataset."""


def read_torchvision(name: str, root: Path) -> Rows:
    """A dataset that torchvision has downloaded into `root`, with its own splits.

    Raises:
        DataError: no such dataset, or files that are missing or damaged.
    """
    if name not in READERS:
        near = difflib.get_close_matches(name, READERS, n=1, cutoff=0.5)
        raise DataError(
            f"torchvision:{name} is not a dataset that is read here. There are: {', '.join(READERS)}.",
            f"Did you mean torchvision:{near[0]}?" if near else "",
            "data.source",
        )
    return READERS[name](root, name)
