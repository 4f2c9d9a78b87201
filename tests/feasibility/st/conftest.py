"""Fixtures of the cloud tier's tests."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from automcu.graph.lowering import lower
from automcu.results import FeasibilityReport
from tests.contracts.feasibility_tier import RESIDUAL
from tests.feasibility.st.cloud_server import MODEL, StCloudServer, running, tier_of


@pytest.fixture
def cloud() -> Iterator[StCloudServer]:
    before = threading.active_count()
    with running() as server:
        yield server
    assert threading.active_count() == before


@pytest.fixture
def model_file(tmp_path: Path) -> Callable[[], Path]:
    path = tmp_path / "modèle 1.tflite"
    path.write_bytes(MODEL)
    return lambda: path


@pytest.fixture
def ask(cloud: StCloudServer, model_file: Callable[[], Path]) -> Callable[..., FeasibilityReport]:
    """A report by a new tier."""

    def make(time_limit_seconds: float = 20.0, tool_version: str | None = None) -> FeasibilityReport:
        tier = tier_of(cloud, time_limit_seconds, tool_version)
        return tier.report(lower(RESIDUAL), model_file)

    return make
