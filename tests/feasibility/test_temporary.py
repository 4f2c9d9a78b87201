import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from automcu.errors import CandidateFailure, InfraFailure
from automcu.feasibility.temporary import file_on_demand, temporary_folder, untrained
from automcu.graph.lowering import lower
from automcu.graph.tflite.reader import read_tflite
from tests.contracts.feasibility_tier import RESIDUAL


def test_a_file_is_made_once_when_it_is_asked_for_and_gone_at_the_end() -> None:
    made: list[int] = []

    def make() -> bytes:
        made.append(1)
        return untrained(lower(RESIDUAL))

    with file_on_demand(make) as file:
        assert not made
        assert file() == file()
        assert read_tflite(file().read_bytes()) == lower(RESIDUAL)
        folder = file().parent
    assert made == [1] and not folder.exists()


def test_what_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def make() -> bytes:
        raise CandidateFailure("cannot be written; give another")

    with pytest.raises(CandidateFailure), file_on_demand(make) as file:
        file()
    assert not list(tmp_path.iterdir())


def test_a_machine_without_room_is_an_infrastructure_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(InfraFailure, match=r"no temporary file can be written .*free disk space"):  # noqa: SIM117
        with file_on_demand(lambda: bytes(1_000)) as file, files_of_at_most(100):
            file()
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(InfraFailure, match="no temporary folder can be made"), temporary_folder():
        pass


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
