"""From scores to a search space, and what is said of it."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from orchestrator.check.run import check_experiment
from orchestrator.probe.proposal import ENOUGH, Branch, propose
from orchestrator.probe.report import PartConflict, ProbeReport, as_yaml
from orchestrator.spec import load_spec
from tests.end_to_end.commands import EXPERIMENT

Scores = list[float | None]


def report(scores: Scores, gradients: str = "parameters") -> ProbeReport:
    """Of a backbone with a part of 10 parameters for every score, and two tasks."""
    whole = 10 * len(scores)
    branches = [Branch(at, f"part{at}", score, 2 * whole - 10 * at) for at, score in enumerate(scores)]
    return ProbeReport(
        name="pairs",
        epochs=2,
        steps=20,
        threshold=-0.1,
        seconds=1.0,
        parts=tuple(
            PartConflict(branch.at + 1, branch.name, 10, branch.conflict, -0.2, {"a:b": -0.2})
            for branch in branches
        ),
        pairs={"a:b": 0.3},
        proposal=propose(branches, whole, gradients=gradients),
    )


def loaded(text: str) -> Any:
    return YAML(typ="safe").load(text)


@given(st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=6))
def test_every_depth_is_suggested_or_a_control_the_most_conflicting_first(scores: Scores) -> None:
    proposal = report(scores).proposal
    assert sorted(b.at for b in (*proposal.suggested, *proposal.control)) == list(range(len(scores)))
    found = [branch.conflict or 0.0 for branch in proposal.suggested]
    assert found == sorted(found, reverse=True)
    assert all(score >= ENOUGH for score in found)
    assert all(branch.at > 0 for branch in proposal.suggested), "to share nothing is no branching"
    assert all((b.conflict or 0.0) < ENOUGH or b.at == 0 for b in proposal.control)


@given(
    st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=6), st.sampled_from(["parameters", "features"])
)
def test_the_text_is_the_space(scores: Scores, gradients: str) -> None:
    found = report(scores, gradients)
    written = loaded(as_yaml(found))
    assert (written or {"search": {"space": {}}})["search"]["space"] == found.proposal.space
    assert json.loads(json.dumps(found.as_event()))["proposal"]["space"] == found.proposal.space


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([0.0, 0.1, 0.8], "Try model.sharing.at: 2, where part2 begins (80 % conflict)."),
        ([0.9, 0.5, 0.5], "Try model.sharing.at: 2"),
        ([0.9, 0.5, 0.4], "Try model.sharing.at: 1"),
        ([0.1, 0.2, 0.0], "Little conflict: 20 % at most"),
        ([0.9, 0.2, 0.0], "Only part0 conflicts (90 %)"),
        ([None, None], "nothing to measure"),
    ],
)
def test_the_verdict_says_where_to_branch_or_plainly_that_there_is_little_to_gain(
    scores: Scores, said: str
) -> None:
    found = report(scores)
    assert said in found.verdict
    assert found.verdict in as_yaml(found)
    assert bool(found.proposal.space) == found.verdict.startswith("Try")


def test_each_depth_is_written_with_its_parameters() -> None:
    text = as_yaml(report([0.0, 0.1, 0.8]))
    assert "hard: 30 parameters" in text
    assert "        - 2  # own part2 (80 % conflict) and what follows: 40 parameters" in text
    assert "        # - 1  # own part1 (10 % conflict) and what follows: 50 parameters" in text
    assert "        # - 0  # own part0 (0 % conflict) and what follows: 60 parameters" in text


@pytest.mark.parametrize(
    ("model", "gradients"),
    [
        ("sharing: {kind: hard}", "parameters"),
        ("sharing: {kind: hard}", "features"),
        ("sharing: {kind: mmoe, at: 1, experts: 2}", "features"),
        ("sharing: {kind: branching, at: shared}", "parameters"),
    ],
)
def test_the_proposal_is_a_space_of_the_file_that_was_probed(
    tmp_path: Path, model: str, gradients: str
) -> None:
    file = tmp_path / "experiment.yaml"
    document = loaded(EXPERIMENT)
    document["model"] |= loaded(model)
    document["balancing"] = {"method": "mgda", "gradients": gradients}
    document["search"]["space"] = report([0.0, 0.5, 0.8], gradients).proposal.space
    written = io.StringIO()
    YAML().dump(document, written)
    file.write_text(written.getvalue())
    assert set(load_spec(file).search.space) >= {"model.sharing.kind", "model.sharing.at"}
    checked = check_experiment(file, config_only=True)
    assert checked.problems == ()
