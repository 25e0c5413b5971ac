"""Ray's environment, set before any test module imports Ray, and one local cluster for all tests."""

import warnings
from collections.abc import Iterator

import pytest
from hypothesis import settings

from orchestrator.cluster import RayAddress, connected, set_environment
from orchestrator.resources import NodeResources

set_environment(RayAddress())
settings.register_profile("seeded", derandomize=True, database=None)  # a failure in CI is one here
settings.load_profile("seeded")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A private Ray with four cores, for all tests that need nothing special of theirs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        with connected(RayAddress(), NodeResources(cpus=4, gpus=0, memory=2**30)):
            yield
