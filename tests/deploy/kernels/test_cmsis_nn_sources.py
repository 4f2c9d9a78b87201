"""Where CMSIS-NN's sources come from: refused when absent, of another version, or changed."""

import shutil
from importlib.metadata import distribution
from pathlib import Path

import pytest

from automcu.deploy.emit import cmsis_nn_sources as module
from automcu.deploy.emit.cmsis_nn_sources import cmsis_nn_sources
from automcu.errors import ConfigError, InfraFailure

VENDOR = "bakenn/backend/cmsis_nn/vendor"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the installed package's data and metadata, which is found first."""
    found = distribution("bakenn")
    shutil.copytree(str(found.locate_file(VENDOR)), tmp_path / VENDOR)
    (tmp_path / "bakenn-1.0.0.dist-info").mkdir()
    (tmp_path / "bakenn-1.0.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: bakenn\nVersion: 1.0.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_complete(installed: Path) -> None:
    sources = cmsis_nn_sources.__wrapped__()
    assert "void arm_convolve" in sources["arm_nnfunctions.h"] or "arm_convolve_s8" in sources["arm_nnfunctions.h"]
    assert len(sources) == len(set(sources)) == 27


def test_changed_file(installed: Path) -> None:
    file = installed / VENDOR / "cmsis_nn/Source/PoolingFunctions/arm_avgpool_s8.c"
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(InfraFailure, match=r"arm_avgpool_s8\.c of bakenn is not the published file; install it again"):
        cmsis_nn_sources.__wrapped__()
    file.unlink()
    with pytest.raises(InfraFailure, match=r"arm_avgpool_s8\.c of bakenn cannot be read"):
        cmsis_nn_sources.__wrapped__()


def test_other_version(installed: Path) -> None:
    metadata = installed / "bakenn-1.0.0.dist-info/METADATA"
    metadata.write_text(metadata.read_text().replace("1.0.0", "1.0.1"))
    with pytest.raises(ConfigError, match=r"bakenn is 1\.0\.1, not 1\.0\.0; install that version: pip install"):
        cmsis_nn_sources.__wrapped__()


def test_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGE", "no-such-package-of-kernels")
    with pytest.raises(ConfigError, match="which is absent; install it: pip install"):
        cmsis_nn_sources.__wrapped__()
