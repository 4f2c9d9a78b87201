"""From settings to what deploys: what is refused at once, and what only the board's host can know."""

from pathlib import Path
from typing import get_args

import pytest

from automcu import build
from automcu.build import deployer_of, prover_settings_of
from automcu.config import read_config
from automcu.deploy.boards.flashing.flasher import TOOLS
from automcu.deploy.choice import FlasherName
from automcu.deploy.st.deployer import StDeployer
from automcu.errors import ConfigError, InfraFailure
from tests.test_config import composed
from tests.test_launch import run

__all__ = ["run"]


def test_every_flashing_tool_can_be_named() -> None:
    assert get_args(FlasherName) == ("auto", *(tool.name for tool in TOOLS))
    with pytest.raises(ConfigError, match=r"deploy\.flasher"):
        read_config(composed("deploy=serial", "deploy.flasher=stlink"))


@pytest.mark.parametrize(
    "overrides",
    [
        ("deploy.port=/dev/ttyACM0",),
        ("deploy=host", "deploy.kernels=dsp"),
        ("deploy.runtime=st", "deploy.flasher=openocd"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_whatever_is_installed(overrides: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="use "):
        prover_settings_of(read_config(composed("board=nucleo_f446re", "cluster=join", *overrides)))


def test_sts_runtime_needs_sts_program(tmp_path: Path) -> None:
    program = tmp_path / "stedgeai"
    asked = ("board=nucleo_f446re", "deploy.runtime=st", f"feasibility.stedgeai={program}")
    missing = deployer_of(read_config(composed(*asked)))
    assert not isinstance(missing, StDeployer) and f"{program} was not found" in missing.unverified
    program.touch(0o755)
    assert "real board only" in deployer_of(read_config(composed(*asked))).unverified
    wired = deployer_of(read_config(composed(*asked, "deploy=serial", "deploy.runtime=st")))
    assert isinstance(wired, StDeployer) and wired.unverified == ""
    unsupported = (*asked, "board=stm32l151")
    assert "does not support the part" in deployer_of(read_config(composed(*unsupported))).unverified


def test_the_host_that_starts_a_run_on_a_cluster_needs_no_tools_of_the_boards(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    told = deployer_of(read_config(composed("board=nucleo_f446re", "deploy=serial"))).unverified
    assert told.startswith("no tool to flash nucleo_f446re is on PATH; install one of: ")

    def refuse(*_: object) -> None:
        raise InfraFailure("no Ray cluster answers at nowhere; start one")

    monkeypatch.setattr("automcu.actors.cluster.join", refuse)
    monkeypatch.setattr(build, "deployer_of", None)  # is called on the board's host alone
    result = run("+experiment=quickstart", "deploy=serial", "cluster.kind=join")
    assert result.code == 2 and "no Ray cluster answers" in result.err
    assert "Joining the Ray cluster" in result.out and "Nothing will be run on a board" not in result.out
