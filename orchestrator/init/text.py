"""The text of the experiment file that `equipoise init` writes."""

import json
import re

from orchestrator.init.guess import Guess, GuessedTask
from orchestrator.init.source import Source
from trainables.data.rows import Rows

SMALL_SIDE = 40
"""Pixels up to which a small-image ResNet suits better than one made for photographs."""
WORDS = ("null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf")
"""Text that YAML, or a reader who knows older YAML, takes for something else."""


def write_text(
    source: Source,
    rows: Rows,
    guess: Guess,
    dropped: dict[str, str],
    size: int | tuple[int, int] | None,
    sizes: tuple[tuple[int, int], ...],
) -> str:
    """The text of the experiment file.

    Args:
        source: where the data is.
        rows: what is read from there.
        guess: tasks, split and marks of missing labels.
        dropped: columns that are no task, and why, besides those of `guess`.
        size: the `data.image_size` to write, in pixels; None leaves it out.
        sizes: (height, width) that were seen, sorted.
    """
    lines = [
        f"# From {rows.name}, {len(rows):,} images, by `equipoise init`. Everything is a guess: change it.",
        "# `equipoise check` says what it makes of your data; `equipoise schema` has every key with its meaning,",
        "# and so has docs/experiment-files.md of the source.",
        "",
        f"name: {_name(source.name)}",
        "seed: 0",
        "",
        "data:",
        *_data_lines(source, rows, guess, size, sizes),
        "",
        "tasks:",
        *(line for task in guess.tasks for line in _task_lines(task)),
        *(f"  # {name} is no task: {why}" for name, why in {**guess.left_out, **dropped}.items()),
        "",
        "model:",
        *_model_lines(size, rows),
        "  heads:",
        "    default: {kind: mlp, hidden: [128]}",
        "",
        "training:",
        "  epochs: 20",
        f"  batch_size: {_batch_size(len(rows))}",
        "  optimizer: {name: adamw, lr: 1e-3, weight_decay: 0.05}",
        "  schedule: {name: cosine, warmup: 0.05}",
        "",
        "search:                       # `equipoise search`; `equipoise train` ignores it",
        "  trials: 20",
        "  stop_early: {kind: asha, min_epochs: 3}",
        "  space:",
    ]
    names = [task.name for task in guess.tasks]
    if len(names) > 1:
        floor = min(0.05, round(0.5 / len(names), 3))
        lines.append(f"    balancing.weights: {{simplex: [{', '.join(names)}], min: {floor}}}")
    lines += [
        "    model.heads.default.hidden: {choice: [[], [128], [256]]}     # [] is a linear head",
        "    training.optimizer.lr: {log: [1e-4, 1e-2]}",
    ]
    return "\n".join(lines) + "\n"


def _data_lines(
    source: Source,
    rows: Rows,
    guess: Guess,
    size: int | tuple[int, int] | None,
    sizes: tuple[tuple[int, int], ...],
) -> list[str]:
    lines = []
    if isinstance(source.written, dict):
        trees = ", ".join(f"{name}: {_scalar(tree)}" for name, tree in source.written.items())
        lines.append(f"  source: {{{trees}}}")
    else:
        lines.append(f"  source: {_scalar(source.written)}")
    if source.image:
        lines.append(f"  image: {_scalar(source.image)}")
    if source.root:
        lines.append(f"  root: {_scalar(source.root)}")
    if guess.split:
        lines.append(f"  split: {{column: {_scalar(guess.split)}}}")
    elif rows.split is None:
        lines.append("  split: {train: 0.8, val: 0.1, test: 0.1}")
        lines += [
            f"  # split: {{train: 0.8, val: 0.1, test: 0.1, group: {_scalar(group)}}}"
            f"     # if rows with the same {group} must stay together"
            for group in guess.groups
        ]
    else:
        lines.append("  # split: the one that the source has")
    if guess.missing:
        marks = ", ".join(_scalar(mark) for mark in ("", *guess.missing))
        lines.append(
            f"  missing: [{marks}]     # cells that mean: no label. The image stays, without this task."
        )
    if size is not None:
        written = size if isinstance(size, int) else f"[{size[0]}, {size[1]}]"
        low, high = sizes[0] if sizes else (0, 0), sizes[-1] if sizes else (0, 0)
        seen = f"{low[1]}×{low[0]}" + (f" to {high[1]}×{high[0]}" if high != low else "")
        lines.append(f"  image_size: {written}     # the images are {seen} pixels")
    lines.append("  augment: light     # none | light | strong: strong also flips and rotates")
    return lines


def _task_lines(task: GuessedTask) -> list[str]:
    shown = ", ".join(task.classes[:6]) + (", …" if len(task.classes) > 6 else "")
    about = f"{len(task.classes)} {'tags' if task.type == 'multilabel' else 'classes'}: {shown}"
    if task.missing:
        about += f"; {task.missing:,} without label"
    keys = [f"type: {task.type}", f"label: {_scalar(task.column)}"]
    if task.positive is not None:
        keys.append(f"positive: {_scalar(task.positive)}")
    if task.separator is not None:
        keys.append(f'separator: "{task.separator}"')
    return [f"  # {_comment(about)}", f"  {_scalar(task.name)}: {{{', '.join(keys)}}}"]


def _model_lines(size: int | tuple[int, int] | None, rows: Rows) -> list[str]:
    side = max(size) if isinstance(size, tuple) else size
    if side is None or side <= SMALL_SIDE:
        return [
            "  backbone: {name: small_resnet, blocks: 1}     # or resnet18, or another torchvision classifier"
        ]
    return [
        "  backbone: resnet18     # or any other torchvision classifier, or my_package.module:function",
        "  weights: null          # default: start from weights trained on ImageNet (downloaded once)",
    ]


def _batch_size(rows: int) -> int:
    """About 20 steps per epoch or more, between 16 and 256."""
    for size in (256, 128, 64, 32):
        if rows * 0.8 >= 20 * size:
            return size
    return 16


def _name(text: str) -> str:
    """A name for the experiment."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:80]
    return _scalar(name or "experiment")


def _scalar(text: str) -> str:
    """`text` as a YAML scalar, quoted only where it must be."""
    plain = re.fullmatch(r"[A-Za-z_./][A-Za-z0-9_./-]*", text) and text.lower() not in WORDS
    special = re.fullmatch(r"(builtin|idx|torchvision):[A-Za-z0-9_./-]+", text)
    return text if plain or special else json.dumps(text, ensure_ascii=False)


def _comment(text: str) -> str:
    """`text` on one line and not too long."""
    line = " ".join(text.split())
    return line if len(line) <= 100 else line[:97] + "..."
