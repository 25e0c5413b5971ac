from collections.abc import Iterator

import pytest
import torch

from tests.contracts.group import Group


@pytest.fixture(scope="session")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    """Three processes that can talk to each other."""
    torch.set_num_threads(1)
    processes = Group(3, tmp_path_factory.mktemp("group"))
    yield processes
    processes.close()
