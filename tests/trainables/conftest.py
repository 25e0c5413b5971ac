import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small models gain nothing from a second thread, and lose much where its core is busy."""
    torch.set_num_threads(1)
