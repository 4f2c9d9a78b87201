"""Shared set-up: Hypothesis profiles, and the one local Ray cluster of the session."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("fast", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", max_examples=2_000, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray for all Ray tests: starting one takes about ten seconds."""
    from automcu.actors.cluster import start_local, stop_local

    start_local(cpus=2, gpus=0, object_store_bytes=150_000_000, boards={"nucleo_f446re": 1})
    yield
    stop_local()
