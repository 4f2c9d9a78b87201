import stat
from pathlib import Path

import pytest

from automcu.deploy.toolchain.objects import ObjectCache
from automcu.deploy.toolchain.toolchain import Toolchain
from automcu.deploy.toolchain.zig import ZigToolchain
from automcu.errors import InfraFailure
from tests.contracts.toolchain import ProgramFailureContract, ToolchainContract


class TestZig(ToolchainContract):
    @staticmethod
    def make(objects: ObjectCache | None = None) -> Toolchain:
        return ZigToolchain(objects=objects)


class TestZigThatMisbehaves(ProgramFailureContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self._program = tmp_path / "zig"

    def make_with(self, script: str, time_limit_seconds: float) -> Toolchain:
        self._program.write_text(f"#!/bin/sh\n{script}")
        self._program.chmod(self._program.stat().st_mode | stat.S_IXUSR)
        return ZigToolchain(time_limit_seconds, [str(self._program)], ObjectCache(None))

    def test_without_the_package_the_remedy_is_to_install_it(self) -> None:
        with pytest.raises(InfraFailure, match=r"No module named ziglang.*; install it: pip install ziglang"):
            self.make_with("echo python: No module named ziglang; exit 1", 20.0)
