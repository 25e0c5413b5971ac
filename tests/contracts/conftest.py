from collections.abc import Iterator

import pytest
import torch

from tests.contracts.group import Group


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Two threads that wait for each other on cores they do not have all but stop."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    """Three processes that can talk to each other."""
    processes = Group(3, tmp_path_factory.mktemp("group"))
    yield processes
    processes.close()
