import shutil
import stat
from pathlib import Path

import pytest

from automcu.deploy.toolchain.gcc import PROGRAM, ArmGccToolchain
from automcu.deploy.toolchain.objects import ObjectCache
from automcu.deploy.toolchain.toolchain import Toolchain
from automcu.errors import InfraFailure
from tests.contracts.toolchain import ProgramFailureContract, ToolchainContract


@pytest.mark.skipif(shutil.which(PROGRAM) is None, reason=f"{PROGRAM} is not installed")
class TestArmGcc(ToolchainContract):
    @staticmethod
    def make(objects: ObjectCache | None = None) -> Toolchain:
        return ArmGccToolchain(objects=objects)


class TestArmGccThatMisbehaves(ProgramFailureContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._program = tmp_path / PROGRAM
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def make_with(self, script: str, time_limit_seconds: float) -> Toolchain:
        self._program.write_text(f"#!/bin/sh\n{script}")
        self._program.chmod(self._program.stat().st_mode | stat.S_IXUSR)
        return ArmGccToolchain(time_limit_seconds, ObjectCache(None))


def test_where_it_is_not_installed_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InfraFailure, match=r"not on PATH; install .* or use toolchain zig"):
        ArmGccToolchain()
