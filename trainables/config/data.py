"""The `data` section: where images and labels come from, and how images are brought to one shape."""

from typing import Annotated, Literal, Self

from pydantic import Field, Strict, StringConstraints, model_validator

from trainables.config.section import Count, Fraction, Positive, Section, Text, refuse
from trainables.config.tasks import TaskName


class SplitFractions(Section):
    """Seeded split by fractions, stratified over all tasks."""

    train: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """What models learn from."""
    val: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """What epochs and trials are compared by."""
    test: Fraction = 0.1
    """May be 0: then there is no test split."""
    group: Text | None = None
    """Column whose equal values never end up in two splits (a product, a patient, a session)."""

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(
                f"train + val + test must be 1, not {self.train} + {self.val} + {self.test} = {total:g}"
            )
        return self


class SplitColumn(Section):
    """Split named by a column with the values train, val and (optionally) test."""

    column: Text
    """Of the table: its cells say train, val or test."""
    group: Text | None = None
    """Column whose equal values should not be in two splits: `check` warns where they are."""


class Augmentation(Section):
    """One batched augmentation of the training images, drawn per example."""

    name: Literal["crop", "flip", "rotate", "brightness", "contrast", "erase"]
    """What is done; each example draws its own amount."""
    amount: Positive | None = None
    """crop: shift, as a fraction of the side (default 0.125). rotate: degrees (10). brightness, contrast:
    ± fraction (0.2). erase: largest area, as a fraction (0.2). flip: takes none."""
    p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Probability per example. Default 1, and 0.5 for flip and erase."""

    @model_validator(mode="after")
    def _amount_fits(self) -> Self:
        if self.amount is None:
            return self
        if self.name == "flip":
            raise ValueError("flip takes no amount")
        largest = 180 if self.name == "rotate" else 1
        if self.amount > largest:
            raise ValueError(f"the amount of {self.name} is at most {largest}, not {self.amount:g}")
        return self


class SourceKeys(Section):
    """What describes one source of images."""

    source: Text | dict[Text, Text] | None = None
    """`.csv` or `.parquet` table, a class-per-folder tree (label column `label`), `{column: tree}` for several
    trees joined by file name, `builtin:digits-pair` (columns `left` and `right`), `idx:DIR` (`label`) or
    `torchvision:NAME`."""
    image: Text = "path"
    """Table column with paths, URIs or encoded image bytes."""
    root: Text | None = None
    """Folder that relative paths start from and may not leave. Default: the folder of the table.
    For `torchvision:` the folder that holds the downloaded files."""
    split: SplitFractions | SplitColumn | None = None
    """Default: the source's own split where it has one (validation drawn from its training part), else
    0.8/0.1/0.1."""
    keep: dict[Text, tuple[str | int | float | bool, ...]] = Field(default_factory=dict)
    """`{column: [values]}`: only rows with one of these values, e.g. a subset of a dataset's classes."""
    missing: tuple[str | int | float, ...] = ("", "NA")
    """Values that mean "no label": the example stays and is masked for that task. Empty cells always do."""


SourceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=60)]


class SourceConfig(SourceKeys):
    """One of several sources. Its images have no label for the tasks that it does not list."""

    name: SourceName
    """What `data.mixing`, reports and the names of its images call it."""
    source: Text | dict[Text, Text]
    tasks: Annotated[tuple[TaskName, ...], Field(min_length=1)] | dict[TaskName, Text]
    """Tasks that its images are labelled for; or `{task: column}` where the column is not the task's `label`.
    A task may be in several sources: its classes are those of all of them."""

    def column_of(self, task: str, label: str) -> str:
        """The column that has the labels of `task`, whose config says `label`."""
        return self.tasks[task] if isinstance(self.tasks, dict) else label


class Temperature(Section):
    """Between proportional (1) and uniform (infinite): shares ∝ rows^(1/temperature).

    Source: Arivazhagan et al., "Massively Multilingual Neural Machine Translation in the Wild", 2019.
    """

    temperature: Annotated[float, Strict(), Field(ge=1, allow_inf_nan=False)]
    """Small sources are drawn more often the higher it is; 5 is a common choice."""


Mixing = Annotated[
    Literal["proportional", "uniform"] | Temperature | dict[SourceName, Positive],
    Field(union_mode="left_to_right"),
]


class DataConfig(SourceKeys):
    """Images, their labels and their splits: of one `source`, or of several in `sources`."""

    sources: Annotated[tuple[SourceConfig, ...], Field(min_length=1)] | None = None
    """Instead of `source`: several, each labelled for some of the tasks. Each is split by itself, and all images
    are brought to one shape (`image_size`; RGB if any source is, grey being repeated)."""
    mixing: Mixing = "proportional"
    """How often each source is drawn in training. proportional: every training image once per epoch, in one random
    order. uniform: all sources equally often. `{temperature: T}`: in between. Or ratios, `{digits: 2, clothes: 1}`.
    An epoch always has as many draws as there are training images. Every batch is mixed as exactly as whole images
    allow; a source that is drawn more often than it has images is shuffled and drawn again, and of one that is
    drawn less often each epoch takes the images that have waited longest. Validation and test are never mixed."""
    image_size: Count | tuple[Count, Count] | None = None
    """Side, or [height, width], in pixels: images are scaled until they cover it, and what sticks out is cut
    off equally at both ends. Default: the images' own size, which must then be one."""
    channels: Literal[1, 3] | None = None
    """1 (grey) or 3 (RGB). Default: 1 if every image is grey, else 3."""
    augment: Literal["none", "light", "strong"] | tuple[Augmentation, ...] = "none"
    """Of training images. `light`: crop, brightness, contrast. `strong`: flip and rotate before these, erase
    after them. Or a list."""
    unreadable: Literal["error", "drop"] = "error"
    """What to do with images that cannot be decoded. Dropped ones are counted per split."""
    max_pixels: Annotated[Count, Field(le=178_956_970)] = 64_000_000
    """Larger images are refused before they are decoded (decompression bombs)."""
    cache: Text | None = None
    """Folder of decoded images. Default: $EQUIPOISE_CACHE, else ~/.cache/equipoise."""

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        if self.sources is None:
            if self.source is None:
                raise ValueError("no images: write source, or a list of sources")
            if self.mixing != "proportional":
                refuse("only several data.sources can be mixed", "mixing")
            return self
        for key, field in SourceKeys.model_fields.items():
            if getattr(self, key) != field.get_default(call_default_factory=True):
                refuse(f"with several sources each has its own. Write {key} in data.sources", key)
        names = [source.name for source in self.sources]
        for index, name in enumerate(names):
            if name in names[:index]:
                refuse(f"{name} is the name of two sources", "sources", index, "name")
        if isinstance(self.mixing, dict):
            for name in self.mixing:
                if name == "temperature" and name not in names:  # taken for a ratio
                    refuse(f"{self.mixing[name]:g} is not allowed; a number ≥ 1 is needed", "mixing", name)
                if name not in names:
                    refuse(f"there is no source {name}. Sources: {', '.join(names)}", "mixing", name)
            if left_out := [name for name in names if name not in self.mixing]:
                refuse(f"no ratio for {', '.join(left_out)}. Give every source one", "mixing")
        return self
