"""What a probe found, as values and as a search space that explains itself."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.probe.proposal import ENOUGH, Branch, Proposal
from orchestrator.report.formats import count


@dataclass(frozen=True)
class PartConflict:
    """One part of the backbone.

    Attributes:
        part: its number, from 1; `model.sharing.at` of this number shares it and all before it.
        name: its first layer.
        parameters: how many it has.
        conflict: share of (step, pair of tasks) with a cosine below the threshold; None where no pair met.
        cosine: the mean over pairs of their mean cosines; None likewise.
        cosines: by `a:b`, the mean cosine of that pair; None where it never met.
    """

    part: int
    name: str
    parameters: int
    conflict: float | None
    cosine: float | None
    cosines: Mapping[str, float | None]


@dataclass(frozen=True)
class ProbeReport:
    """What a probe found.

    Attributes:
        name: of the experiment.
        epochs: that were trained.
        steps: at which gradients were looked at.
        threshold: cosines below it are conflicts.
        seconds: that the probe took.
        parts: of the backbone, from the images on.
        pairs: by `a:b`, the share of (step, part) in conflict; None where the pair never met.
        proposal: where to branch.
    """

    name: str
    epochs: int
    steps: int
    threshold: float
    seconds: float
    parts: tuple[PartConflict, ...]
    pairs: Mapping[str, float | None]
    proposal: Proposal

    def as_event(self) -> dict[str, Any]:
        """The last line of `--json`."""
        return {"event": "probe_finished", **dataclasses.asdict(self)}

    @property
    def verdict(self) -> str:
        """The proposal in a sentence or two."""
        if self.proposal.suggested:
            branch = self.proposal.suggested[0]
            conflict = _percent(branch.conflict)
            return f"Try model.sharing.at: {branch.at}, where {branch.name} begins ({conflict} conflict)."
        known = [part for part in self.parts if part.conflict is not None]
        if not known:
            return "No two tasks had labels in the same batch: there was nothing to measure."
        first, most = self.parts[0], max(part.conflict or 0.0 for part in known)
        if most >= ENOUGH:
            return (
                f"Only {first.name} conflicts ({_percent(first.conflict)}), and it is the first part: to branch before "
                "it shares nothing. Compare model.sharing: {kind: branching, at: 0}."
            )
        return (
            f"Little conflict: {_percent(most)} at most, and branching is suggested from {_percent(ENOUGH)} on. "
            "Keep hard sharing."
        )


def as_yaml(report: ProbeReport) -> str:
    """What was measured as comments, then the space to search; comments alone where nothing is suggested."""
    return "\n".join([*_measured(report), *_space(report.proposal)]) + "\n"


def _measured(report: ProbeReport) -> Iterator[str]:
    yield (
        f"# equipoise probe, {report.name}: gradients of {count(report.steps, 'step')} in "
        f"{count(report.epochs, 'epoch')} of hard sharing with equal weights."
    )
    yield "#"
    rows = [
        ["part", "", "parameters", "conflict", "mean cosine", "lowest pair", ""],
        *map(_row, report.parts),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if number in (2, 3, 4, 6) else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield f"# {'  '.join(cells)}".rstrip()
    yield "#"
    yield f"# conflict: share of (step, pair of tasks) whose gradients have a cosine below {report.threshold:g}."
    yield f"# {report.verdict}"


def _row(part: PartConflict) -> list[str]:
    known = {pair: cosine for pair, cosine in part.cosines.items() if cosine is not None}
    lowest = min(known, key=known.__getitem__, default="")
    return [
        str(part.part),
        part.name,
        f"{part.parameters:,}",
        _percent(part.conflict),
        _cosine(part.cosine),
        lowest,
        _cosine(known.get(lowest)) if lowest else "",
    ]


def _space(proposal: Proposal) -> Iterator[str]:
    if not proposal.suggested:
        return
    yield ""
    yield "search:"
    yield "  space:"
    yield "    # Hard sharing is the baseline. A wider backbone of equal size is another one worth its trials."
    yield f"    model.sharing.kind: {{choice: [hard, branching]}}  # hard: {proposal.hard_parameters:,} parameters"
    yield "    model.sharing.at:"
    yield "      when: {model.sharing.kind: branching}"
    yield "      choice:  # parts that stay shared"
    yield from (f"        - {_branch(branch)}" for branch in proposal.suggested)
    yield "        # Control: the other depths. If they do as well, conflict is not what counts here."
    yield from (f"        # - {_branch(branch)}" for branch in proposal.control)
    if "balancing.gradients" in proposal.space:
        yield "    balancing.gradients: {choice: [parameters]}  # branches have no features that all tasks read"


def _branch(branch: Branch) -> str:
    conflict = f" ({_percent(branch.conflict)} conflict)" if branch.conflict is not None else ""
    return f"{branch.at}  # own {branch.name}{conflict} and what follows: {branch.parameters:,} parameters"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _cosine(cosine: float | None) -> str:
    return "–" if cosine is None else f"{cosine:.2f}"
