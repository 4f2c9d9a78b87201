"""Which tier judges, and why: the one that was asked for, or with `auto` the most telling one that can be had here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from automcu.board import Board
from automcu.errors import ConfigError
from automcu.feasibility.tier import FeasibilityTier
from automcu.feasibility.timed import Timed
from automcu.graph.kernel_sets import kernel_set_for

TierName = Literal["auto", "planner", "tflm", "st_estimate", "stedgeai", "st_cloud"]
Runtime = Literal["automcu", "st"]
"""What runs the network on the board: AutoMCU's own code, or ST's proprietary runtime."""


@dataclass(frozen=True, slots=True)
class TierSettings:
    """What tiers can be told. `stedgeai` is the program, a name on PATH or a path; `tool_version` the version of ST
    Edge AI to estimate or to ask the cloud for, None for the tier's default; `time_limit_seconds` bounds one report."""

    stedgeai: str = "stedgeai"
    tool_version: str | None = None
    time_limit_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class Choice:
    """A tier with its name, and one plain sentence that says why it was chosen."""

    name: TierName
    tier: FeasibilityTier
    reason: str


def choose(
    asked: TierName, runtime: Runtime, board: Board, settings: TierSettings, environment: Mapping[str, str]
) -> Choice:
    """The tier that judges networks for `board`.

    `auto` takes ST Edge AI's program if it is found, else ST's cloud if its credentials are in `environment`, else the
    estimate of ST's figures where `runtime` is ST's, and the planner where it is AutoMCU's own. Raises `ConfigError`
    when what is asked for cannot be.
    """
    if runtime == "st" and board.stedgeai_target is None:
        raise ConfigError(
            f"ST's runtime supports no {board.part} ({board.name}); choose another board, or AutoMCU's own runtime "
            "(deploy.runtime=automcu)"
        )
    name, reason = (
        (asked, f"{asked} was asked for") if asked != "auto" else _automatic(runtime, board, settings, environment)
    )
    if settings.tool_version is not None and name not in ("st_estimate", "st_cloud"):
        raise ConfigError(
            f"tier {name} has one version only, not {settings.tool_version}; use tier st_estimate or st_cloud, or give "
            "no tool version"
        )
    return Choice(name, Timed(_tier(name, board, settings, environment), board.core), reason)


def _automatic(
    runtime: Runtime, board: Board, settings: TierSettings, environment: Mapping[str, str]
) -> tuple[TierName, str]:
    from automcu.feasibility.st.cloud_client import credentials_from_environment
    from automcu.feasibility.st.stedgeai import find_stedgeai

    program = find_stedgeai(settings.stedgeai)
    credentials = credentials_from_environment(environment)
    if board.stedgeai_target is None and (program is not None or credentials is not None):
        missed = f"ST Edge AI supports no {board.part}"
    elif program is not None:
        return "stedgeai", f"auto: ST Edge AI's program was found at {program}"
    elif credentials is not None:
        return "st_cloud", "auto: ST Edge AI's program was not found, credentials for its cloud were"
    else:
        missed = "neither ST Edge AI's program nor credentials for its cloud were found"
    if runtime == "st":
        return "st_estimate", f"auto: {missed}, and ST's runtime is to be deployed"
    return "planner", f"auto: {missed}, and AutoMCU's own runtime is to be deployed"


def _tier(name: TierName, board: Board, settings: TierSettings, environment: Mapping[str, str]) -> FeasibilityTier:
    match name:
        case "tflm":
            from automcu.feasibility.tflm import TflmTier

            return TflmTier(settings.time_limit_seconds)
        case "st_estimate":
            from automcu.feasibility.st.estimate import StEstimate

            return StEstimate(settings.tool_version)
        case "stedgeai":
            from automcu.feasibility.st.stedgeai import StEdgeAi, find_stedgeai

            program = find_stedgeai(settings.stedgeai)
            if program is None:
                raise ConfigError(
                    f"{settings.stedgeai} not found; install ST Edge AI, give its path (feasibility.stedgeai), or use "
                    "tier auto"
                )
            return StEdgeAi(program, _target(board), settings.time_limit_seconds)
        case "st_cloud":
            from automcu.feasibility.st.cloud import StCloud
            from automcu.feasibility.st.cloud_client import (
                PASSWORD_VARIABLE,
                USER_VARIABLE,
                credentials_from_environment,
            )

            credentials = credentials_from_environment(environment)
            if credentials is None:
                raise ConfigError(
                    f"no credentials for ST Edge AI Developer Cloud in the environment; set {USER_VARIABLE} and "
                    f"{PASSWORD_VARIABLE}, or use tier auto"
                )
            return StCloud(
                _target(board),
                credentials,
                tool_version=settings.tool_version,
                time_limit_seconds=settings.time_limit_seconds,
            )
        case _:
            from automcu.feasibility.planner_tier import PlannerTier

            return PlannerTier(kernel_set_for(board.core))


def _target(board: Board) -> str:
    if board.stedgeai_target is None:
        raise ConfigError(f"ST Edge AI supports no {board.part} ({board.name}); use tier planner")
    return board.stedgeai_target
