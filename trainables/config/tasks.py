"""The `tasks` section: what is asked of every image."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from trainables.config.section import Positive, Probability, Section, Text

RESERVED_NAMES = frozenset({"best", "overall", "conflict", "system", "default", "score", "model"})
"""Names that have a meaning of their own in metrics, heads or MLflow."""

TaskName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=60)]
Label = str | int | float | bool
Metric = Literal["accuracy", "f1", "auroc", "average_precision"]
FurtherMetric = Literal["accuracy", "f1", "auroc", "average_precision", "ece"]

METRICS_OF_TYPE: dict[str, tuple[str, ...]] = {
    "multiclass": ("accuracy", "f1", "auroc", "average_precision", "ece"),
    "binary": ("accuracy", "f1", "auroc", "average_precision", "ece"),
    "multilabel": ("accuracy", "f1", "auroc", "average_precision", "ece"),
}
"""What can be measured of a task, by its type."""


class _TaskBase(Section):
    label: Text
    """Column of the data source."""
    metrics: tuple[FurtherMetric, ...] = ()
    """Measured besides `metric`, which stands for the task in `score`. Those that `search.objectives`,
    `search.stop_early.on` and `training.select.metric` name are measured without being listed here.
    f1, auroc and average_precision are macro averages; ece has 15 bins."""


class MulticlassTask(_TaskBase):
    """Exactly one of several classes. Loss: cross-entropy."""

    type: Literal["multiclass"] = "multiclass"
    classes: tuple[Label, ...] | None = Field(default=None, min_length=2)
    """Default: the values found in the training split, sorted."""
    metric: Metric = "accuracy"
    """What stands for the task in `score` and in the default objectives."""
    label_smoothing: Probability = 0.0
    """Share of the target that is spread evenly over all classes."""
    class_weights: Literal["balanced"] | dict[Text, Positive] | None = None
    """Factors of the loss by class. balanced: inversely proportional to how often a class occurs."""


class BinaryTask(_TaskBase):
    """Yes or no. Loss: binary cross-entropy on one logit."""

    type: Literal["binary"] = "binary"
    positive: Label | None = None
    """The value that means yes; every other one means no. Default: the greater of the two values found."""
    metric: Metric = "accuracy"
    """What stands for the task in `score` and in the default objectives."""
    label_smoothing: Probability = 0.0
    """Targets become smoothing/2 and 1 - smoothing/2."""
    positive_weight: Literal["balanced"] | Positive | None = None
    """Factor of the loss of positive examples. balanced: negatives per positive in the training split."""


class MultilabelTask(_TaskBase):
    """Any number of tags at once. Loss: binary cross-entropy, mean over tags."""

    type: Literal["multilabel"] = "multilabel"
    separator: Text = "|"
    """Between tags of one cell. Parquet columns of lists need none."""
    classes: tuple[Label, ...] | None = Field(default=None, min_length=1)
    """Default: the tags found in the training split, sorted."""
    metric: Metric = "f1"
    """What stands for the task in `score` and in the default objectives."""
    label_smoothing: Probability = 0.0
    """Targets become smoothing/2 and 1 - smoothing/2."""


TaskConfig = Annotated[MulticlassTask | BinaryTask | MultilabelTask, Field(discriminator="type")]
TaskConfigs = dict[TaskName, TaskConfig]
