import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny networks are faster on one thread, and results then do not depend on the machine."""
    torch.set_num_threads(1)
