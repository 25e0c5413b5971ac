"""What ends a training before anything has started."""

from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.spec import parse_spec
from orchestrator.training_run import train
from tests.end_to_end.commands import EXPERIMENT


def test_a_file_whose_search_alone_makes_it_possible_is_not_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [
        "balancing={method: cagrad}",
        "model.sharing={kind: branching, at: 0}",
        "search.space={model.sharing.at: {int: [1, 2]}}",
    ]
    with pytest.raises(ConfigError, match=r"^model.sharing.at: cagrad .* they share nothing. Share a stage"):
        train(parse_spec(EXPERIMENT, overrides=settings))
    assert list(tmp_path.iterdir()) == []
