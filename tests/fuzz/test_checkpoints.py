"""A checkpoint with damaged bytes is refused in a sentence, and opening a stranger's runs no code."""

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings

from tests.fuzz.damage import damaged, examples
from trainables.errors import TrainingError
from trainables.training.state import FILE, ModelState, TrainState, load_model_state, load_state, save_state

STATE = TrainState(
    {"model/a": torch.arange(6.0).reshape(2, 3), "optimizer/step": torch.tensor(3)},
    {"epoch": 2, "selection": {"best": 0.5}, "name": "ü"},
)


class Bomb:
    """What a pickle can do."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.witness),)


def test_a_damaged_checkpoint_loads_or_is_refused_in_a_sentence(tmp_path: Path) -> None:
    save_state(STATE, tmp_path / "good")
    whole = (tmp_path / "good" / FILE).read_bytes()
    (tmp_path / "bad").mkdir()

    @settings(max_examples=examples(200), deadline=None)
    @given(damaged(whole))
    def check(content: bytes) -> None:
        (tmp_path / "bad" / FILE).write_bytes(content)
        try:
            state = load_state(tmp_path / "bad")
        except TrainingError as error:
            assert "is not a readable checkpoint" in error.message
            return
        assert all(isinstance(tensor, torch.Tensor) for tensor in state.tensors.values())

    check()


@pytest.mark.parametrize("load", [load_state, load_model_state])
def test_opening_a_strangers_checkpoint_runs_no_code(tmp_path: Path, load: object) -> None:
    witness = tmp_path / "witness"
    assert callable(load)
    for make in (
        lambda path: path.write_bytes(pickle.dumps(Bomb(witness))),
        lambda path: _torch_file(path, witness),
    ):
        (tmp_path / "theirs").mkdir(exist_ok=True)
        make(tmp_path / "theirs" / FILE)
        with pytest.raises(TrainingError, match="is not a readable checkpoint"):
            load(tmp_path / "theirs")
    assert not witness.exists()
    pickle.loads(pickle.dumps(Bomb(witness)))
    assert witness.exists()


def _torch_file(path: Path, witness: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb(witness)))
        archive.writestr("archive/version", "3\n")


def test_a_saved_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    save_state(ModelState(STATE.tensors, STATE.meta), tmp_path / "good")
    read = load_model_state(tmp_path / "good")
    assert read.meta == STATE.meta
    assert all(torch.equal(read.tensors[name], tensor) for name, tensor in STATE.tensors.items())
