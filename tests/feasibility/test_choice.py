"""`auto` takes the most telling tier to be had, and says why; what cannot be is refused, with the remedy."""

from dataclasses import replace
from pathlib import Path

import pytest

from automcu.board import Board, MemoryRegion
from automcu.errors import ConfigError
from automcu.feasibility.choice import Runtime, TierName, TierSettings, choose
from tests import builders

REGIONS = (MemoryRegion("flash", "flash", 0, 10**6), MemoryRegion("ram", "ram", 0, 10**5))
BOARD = builders.board(name="nucleo_f446re", part="STM32F446RET6", regions=REGIONS, stedgeai_target="stm32f4")
NO_ST = replace(BOARD, name="stm32l151", part="STM32L151", stedgeai_target=None)
NOTHING = TierSettings(stedgeai="no-such-program")
ACCOUNT = {"stmai_username": "someone@example.com", "stmai_password": "secret"}


@pytest.fixture
def installed(tmp_path: Path) -> TierSettings:
    program = tmp_path / "stedgeai"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return TierSettings(stedgeai=str(program))


def test_auto_takes_the_program_then_the_cloud_then_what_needs_nothing(installed: TierSettings) -> None:
    assert choose("auto", "automcu", BOARD, installed, ACCOUNT).name == "stedgeai"
    assert choose("auto", "st", BOARD, NOTHING, ACCOUNT).name == "st_cloud"
    assert choose("auto", "st", BOARD, NOTHING, {}).name == "st_estimate"
    assert choose("auto", "automcu", BOARD, NOTHING, {}).name == "planner"
    assert choose("auto", "automcu", BOARD, NOTHING, {"stmai_username": "half"}).name == "planner"


def test_the_reason_says_what_was_found(installed: TierSettings) -> None:
    assert installed.stedgeai in choose("auto", "automcu", BOARD, installed, {}).reason
    assert "credentials for its cloud were" in choose("auto", "st", BOARD, NOTHING, ACCOUNT).reason
    assert "ST's runtime is to be deployed" in choose("auto", "st", BOARD, NOTHING, {}).reason
    assert "secret" not in choose("auto", "st", BOARD, NOTHING, ACCOUNT).reason
    assert choose("tflm", "automcu", BOARD, NOTHING, {}).reason == "tflm was asked for"


def test_a_tool_that_cannot_serve_the_board_is_passed_over_with_the_reason(installed: TierSettings) -> None:
    choice = choose("auto", "automcu", NO_ST, installed, ACCOUNT)
    assert choice.name == "planner" and "ST Edge AI supports no STM32L151" in choice.reason


@pytest.mark.parametrize("name", ["planner", "tflm", "st_estimate", "stedgeai", "st_cloud"])
def test_what_is_asked_for_is_made(name: TierName, installed: TierSettings) -> None:
    choice = choose(name, "automcu", BOARD, installed, ACCOUNT)
    assert choice.name == choice.tier.name == name
    assert choice.tier.target
    if name in ("stedgeai", "st_cloud"):
        assert choice.tier.target == "stm32f4"


def test_a_tool_version_goes_with_the_tiers_that_have_several() -> None:
    wanted = replace(NOTHING, tool_version="8.1")
    assert choose("st_estimate", "automcu", BOARD, wanted, {}).tier.version == "8.1"
    assert choose("auto", "st", BOARD, wanted, {}).tier.version == "8.1"
    assert choose("st_cloud", "st", BOARD, wanted, ACCOUNT).name == "st_cloud"


@pytest.mark.parametrize(
    ("asked", "runtime", "board", "version", "told"),
    [
        ("stedgeai", "st", BOARD, None, "no-such-program not found; .* use tier auto"),
        ("st_cloud", "st", BOARD, None, "set stmai_username and stmai_password"),
        ("auto", "st", NO_ST, None, r"supports no STM32L151 .*deploy\.runtime=automcu"),
        ("planner", "automcu", BOARD, "8.1", "planner has one version only, not 8.1; use tier st_estimate"),
        ("auto", "automcu", BOARD, "8.1", "planner has one version only"),
        ("tflm", "automcu", BOARD, "8.1", "tflm has one version only"),
        ("st_estimate", "st", BOARD, "99", "give one of"),
    ],
)
def test_what_cannot_be_is_refused(
    asked: TierName, runtime: Runtime, board: Board, version: str | None, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        choose(asked, runtime, board, replace(NOTHING, tool_version=version), {})


@pytest.mark.parametrize("asked", ["stedgeai", "st_cloud"])
def test_a_board_that_the_tool_does_not_support_is_refused(asked: TierName, installed: TierSettings) -> None:
    with pytest.raises(ConfigError, match="use tier planner"):
        choose(asked, "automcu", NO_ST, installed, ACCOUNT)
