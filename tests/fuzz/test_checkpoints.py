"""A checkpoint with damaged bytes is refused in a sentence or harmless, and opening a stranger's runs no code."""

import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from safetensors.torch import save_file

from tests.fuzz.damage import damaged, examples
from trainables.checksum import CHECKSUM
from trainables.errors import CheckpointError, TrainingError
from trainables.training.state import FILE, ModelState, TrainState, load_model_state, load_state, save_state

STATE = TrainState(
    {
        "model/a": torch.arange(6.0).reshape(2, 3),
        "model/b": torch.arange(6.0).reshape(2, 3),
        "optimizer/step": torch.tensor(3),
    },
    {"epoch": 2, "selection": {"best": 0.5}, "name": "ü"},
)


class Bomb:
    """What a pickle can do."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.witness),)


def same(state: TrainState, other: TrainState) -> bool:
    """Whether they are the same to the last bit."""
    return state.meta == other.meta and bits(state) == bits(other)


def bits(state: TrainState) -> dict[str, tuple[torch.dtype, torch.Size, bytes]]:
    return {
        name: (tensor.dtype, tensor.shape, tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        for name, tensor in state.tensors.items()
    }


def loaded(directory: Path, content: bytes) -> TrainState | None:
    """What is read of a file of these bytes, None if it is refused in a sentence."""
    (directory / FILE).write_bytes(content)
    try:
        return load_state(directory)
    except CheckpointError as error:
        assert "is not a readable checkpoint" in error.message
        assert "Restore it from a copy, or train again" in error.hint
        return None


def test_a_damaged_checkpoint_is_the_very_same_state_or_refused_in_a_sentence(tmp_path: Path) -> None:
    save_state(STATE, tmp_path / "good")
    whole = (tmp_path / "good" / FILE).read_bytes()
    (tmp_path / "bad").mkdir()

    @settings(max_examples=examples(200), deadline=None)
    @given(damaged(whole))
    def check(content: bytes) -> None:
        read = loaded(tmp_path / "bad", content)
        assert read is None or same(read, STATE)

    check()


def test_a_flipped_bit_of_any_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    save_state(STATE, tmp_path / "good")
    whole = (tmp_path / "good" / FILE).read_bytes()
    (tmp_path / "bad").mkdir()
    numbers = len(whole) - sum(t.numel() * t.element_size() for t in STATE.tensors.values())
    for at in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[at] ^= 1 << bit
            read = loaded(tmp_path / "bad", bytes(flipped))
            assert read is None or (same(read, STATE) and at < numbers), (
                at,
                bit,
                whole[max(0, at - 9) : at + 9],
            )


def test_the_name_of_the_checksum_cannot_be_damaged_together_with_what_it_is_of(tmp_path: Path) -> None:
    save_state(STATE, tmp_path / "good")
    whole = bytearray((tmp_path / "good" / FILE).read_bytes())
    (tmp_path / "bad").mkdir()
    whole[-1] ^= 1
    for at in range(whole.index(CHECKSUM.encode()), whole.index(CHECKSUM.encode()) + len(CHECKSUM)):
        whole[at] ^= 1
        assert loaded(tmp_path / "bad", bytes(whole)) is None
        whole[at] ^= 1


def test_a_state_from_before_there_were_checksums_is_read(tmp_path: Path) -> None:
    save_file(STATE.tensors, tmp_path / FILE, {"meta": json.dumps(STATE.meta)})
    assert same(load_state(tmp_path), STATE)


def test_tensors_of_any_kind_have_a_checksum(tmp_path: Path) -> None:
    tensors = {
        "none": torch.zeros(0, 3),
        "half": torch.tensor([1.5, float("nan"), -0.0], dtype=torch.bfloat16),
        "scalar": torch.tensor(True),
        "channels last": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
    }
    state = TrainState(tensors, {"x": "y"})
    save_state(state, tmp_path / "state")
    read = load_state(tmp_path / "state")
    assert same(read, TrainState({name: t.contiguous() for name, t in tensors.items()}, state.meta))


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
