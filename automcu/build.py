"""From a typed configuration to the objects of a run. Names become classes here and nowhere else."""

import os
import re
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from automcu.agents.deploy import DeployAgent
from automcu.agents.evaluation import EvaluationAgent
from automcu.architecture import Architecture
from automcu.board import Budget
from automcu.build_agents import conversation_of, meter_of, roles_asking, supervisor_of, training_agent_of
from automcu.build_teacher import teacher_of
from automcu.config import (
    ColabNASConfig,
    EvolutionConfig,
    GivenConfig,
    HybridConfig,
    LLMProposerConfig,
    LocalSearchConfig,
    NamedDataConfig,
    RandomConfig,
    RunConfig,
    SurrogateConfig,
    TPEConfig,
    UNASConfig,
)
from automcu.deploy.choice import ProverSettings, prover_for
from automcu.deploy.deployer import Deployer
from automcu.errors import ConfigError, InfraFailure, LLMError
from automcu.evaluation import EvaluationSettings, Evaluator
from automcu.executors.blueprint import Blueprint, Shared
from automcu.executors.steps import DeploymentRole, EvaluationRole, TrainingRole
from automcu.export.converter import Converter
from automcu.feasibility.choice import Choice, TierName, TierSettings, choose
from automcu.feasibility.gate import Gate
from automcu.feasibility.planner_tier import PlannerTier
from automcu.feasibility.st.estimate import StEstimate
from automcu.feasibility.tier import FeasibilityTier
from automcu.feasibility.timed import Timed
from automcu.graph.kernel_sets import kernel_set_for
from automcu.graph.lowering import lower
from automcu.llm.conversation import Conversation, Transcript
from automcu.llm.endpoint import Endpoint
from automcu.proposal import Cost, Proposer
from automcu.proposers.colabnas import ColabNAS
from automcu.proposers.evolution import RegularizedEvolution
from automcu.proposers.forecast import Forecast
from automcu.proposers.given import given
from automcu.proposers.local_search import LocalSearch
from automcu.proposers.random_search import RandomSearch
from automcu.proposers.scalarised_evolution import ScalarisedEvolution
from automcu.proposers.starters import Starters
from automcu.results import FeasibilityReport
from automcu.search import Limits
from automcu.spaces import make_space
from automcu.spaces.space import Space
from automcu.training.data import TestData, TrainingData, data_roots, load_test, load_training, require_test
from automcu.training.own_data import OwnData
from automcu.training.trainer import TorchTrainer


def space_of(config: RunConfig) -> Space:
    """The search space, bound to the task."""
    return make_space(config.space.name, config.task.input_shape, config.task.class_count)


def budget_of(config: RunConfig) -> Budget:
    """The limits of the network: the configured ones, and never more than the board has left."""
    asked = config.budget
    board = config.board
    return Budget(
        ram_bytes=board.ram_bytes if asked.ram_kb is None else round(asked.ram_kb * 1000),
        flash_bytes=board.flash_bytes if asked.flash_kb is None else round(asked.flash_kb * 1000),
        macs=asked.macs,
        latency_ms=asked.latency_ms,
    ).on(board)


_UNFIT_EPOCHS: Mapping[str, int] = {"before_training": 0, "after_first_epoch": 1}


def limits_of(config: RunConfig) -> Limits:
    """The limits of the search."""
    return Limits(
        seconds=config.budget.minutes * 60,
        max_proposals=config.budget.proposals,
        max_trained=config.budget.candidates,
        batch=config.search.batch,
        lookahead=config.search.lookahead,
        finish_share=config.search.finish_share,
        attempts=config.search.attempts,
        final_candidates=config.final.candidates,
        final_seconds=config.final.minutes * 60,
        unfit_epochs=_UNFIT_EPOCHS.get(config.search.check, config.training.recipe.epochs),
        feedback=config.search.feedback,
    )


def proposer_of(config: RunConfig, endpoint: Endpoint | None, shared: Shared) -> Proposer:
    """The proposer. Raises `ConfigError` when proposer and llm do not go together."""
    space, seed = space_of(config), config.seed
    match config.proposer:
        case GivenConfig(architectures=files):
            return given(space, files)
        case RandomConfig():
            return RandomSearch(space, seed)
        case LocalSearchConfig():
            return LocalSearch(space, seed)
        case TPEConfig():
            from automcu.proposers.tpe import TPESearch

            return TPESearch(space, seed)
        case ColabNASConfig():
            return ColabNAS(space)
        case UNASConfig(population=population, tournament=tournament, error_bound=bound):
            return ScalarisedEvolution(space, seed, budget_of(config), population, tournament, bound)
        case EvolutionConfig(population=population, tournament=tournament, starters=begins):
            return RegularizedEvolution(space, seed, population, tournament, _starters_of(config, begins))
        case SurrogateConfig(starters=begins):
            from automcu.proposers.surrogate import SurrogateSearch

            return SurrogateSearch(space, seed, _forecast_of(config), _starters_of(config, begins))
        case asked:
            return _asking(config, asked, space, conversation_of(config, "proposal", endpoint, shared))


def _asking(
    config: RunConfig, asked: LLMProposerConfig | HybridConfig, space: Space, conversation: Conversation | None
) -> Proposer:
    from automcu.proposers.hybrid import HybridProposer
    from automcu.proposers.llm import LLMProposer

    assert conversation is not None  # code cannot fill the proposal agent's role: that is proposer=evolution
    common = (space, conversation, config.task, budget_of(config), config.board.name, config.seed)
    cost = _cost_of(config)
    match asked:
        case LLMProposerConfig(mode=mode, fallback=fallback):
            code = RegularizedEvolution(space, config.seed) if fallback else None
            return LLMProposer(*common, code, mode=mode, cost=cost)
        case HybridConfig(mode=mode, warm_start=warm_start, patience=patience, starters=begins):
            starters = _starters_of(config, begins)
            code = RegularizedEvolution(space, config.seed, starters=starters)
            return HybridProposer(
                *common, code, mode=mode, cost=cost, warm_start=warm_start, patience=patience, starters=starters
            )


def _forecast_of(config: RunConfig) -> Forecast:
    return Forecast(_cost_of(config), budget_of(config))


def _starters_of(config: RunConfig, asked: bool) -> Starters | None:
    return Starters(space_of(config).families(), _forecast_of(config)) if asked else None


def _cost_of(config: RunConfig) -> Cost:
    space, core = space_of(config), config.board.core
    tier = Timed(PlannerTier(kernel_set_for(core)), core)

    def cost(architecture: Architecture) -> FeasibilityReport:
        return tier.report(lower(space.build(architecture)), Path)  # no file is asked for

    return cost


def require_roles(config: RunConfig) -> None:
    """Raise `ConfigError` now if a role cannot be built; what the run is to serve is taken to be served."""
    endpoint, shared = Endpoint("", "", ""), Shared(None, None)
    proposer_of(config, endpoint, shared)
    for role in roles_asking(config):
        conversation_of(config, role, endpoint, shared)


def first_prompt_chars(config: RunConfig) -> int:
    """Characters of the proposal agent's first prompt, 0 where it asks no model."""
    if not isinstance(config.proposer, LLMProposerConfig | HybridConfig):
        return 0
    from automcu.llm.scripted import ScriptedLLM

    silent = ScriptedLLM([])
    conversation = Conversation("proposal", silent, Transcript(0), max_tokens=1)
    proposals = _asking(config, config.proposer, space_of(config), conversation).propose(config.search.batch)
    with suppress(LLMError):
        next(proposals, None)
    return sum(len(message.content) for message in silent.asked[0]) if silent.asked else 0


@dataclass(frozen=True, slots=True)
class Judge:
    """The tier that judges a run, settled once where the run begins: `auto` might come to another elsewhere.

    `version` and `target` are the tier's, `reason` says in a sentence why it was chosen.
    """

    tier: TierName
    version: str
    target: str
    reason: str

    def __str__(self) -> str:
        return f"{self.tier} {self.version} for {self.target} ({self.reason})"


def judge_of(config: RunConfig) -> Judge:
    """Who judges. Raises `ConfigError` when what is asked for cannot be, `InfraFailure` when a tool does not answer."""
    choice = _choice(config, config.feasibility.tier)
    with closing(choice.tier) as tier:
        return Judge(choice.name, tier.version, tier.target, choice.reason)


def _choice(config: RunConfig, tier: TierName) -> Choice:
    asked = config.feasibility
    settings = TierSettings(asked.stedgeai, asked.tool_version, asked.time_limit_seconds)
    return choose(tier, config.deploy.runtime, config.board, settings, os.environ)


def gate_of(config: RunConfig, judge: Judge) -> Gate:
    """The feasibility gate. What AutoMCU's own runtime is to run must fit by the planner first, whoever else judges."""
    space, budget, core = space_of(config), budget_of(config), config.board.core
    tier = _choice(config, judge.tier).tier
    own = [Timed(PlannerTier(kernel_set_for(core)), core)] if config.deploy.runtime == "automcu" else []
    match judge.tier:
        case "planner":
            return Gate(space, budget, [tier])
        case "st_estimate":
            return Gate(space, budget, [*own, tier])
        case "stedgeai" | "st_cloud":
            return Gate(space, budget, own, tier, _screen(judge.version, core))
        case _:
            return Gate(space, budget, own, tier)


def _screen(tool_version: str, core: str) -> FeasibilityTier | None:
    """What ST's tool states at least, as far as its version is known."""
    found = re.match(r"\d+(\.\d+)?", tool_version)
    try:
        return Timed(StEstimate(found[0] if found else "").optimistic(), core)
    except ConfigError:
        return None


def training_data_of(config: RunConfig) -> TrainingData:
    """The training and validation images, and the teacher where there is one. Raises as `teacher_of` does."""
    roots, own = _where_data_is(config)
    teacher = teacher_of(config)
    found = load_training(
        config.task,
        roots,
        own=own,
        validation_share=config.data.validation_share,
        max_images=config.data.max_images,
        seed=config.seed,
    )
    return replace(found, teacher=teacher)


def require_test_data(config: RunConfig) -> None:
    """Raise `DataError` now if the test images will not be there at the end; opens none."""
    require_test(config.task, *_where_data_is(config))


def _where_data_is(config: RunConfig) -> tuple[tuple[Path, ...], OwnData | None]:
    data = config.data
    if isinstance(data, NamedDataConfig):
        return data_roots(data.root), None
    return (), OwnData(data.path, data.fit, data.label)


def _training_of(config: RunConfig, folder: Path, data: TrainingData) -> TrainingRole:
    return TrainingRole(
        space_of(config),
        TorchTrainer(config.training.recipe, config.training.cpus),
        data,
        config.seed,
        folder,
        TorchTrainer(config.final.recipe, config.final.cpus),
        config.final.all_images,
    )


def _evaluation_of(
    config: RunConfig,
    judge: Judge,
    open_test: Callable[[], TestData],
    endpoint: Endpoint | None,
    data: TrainingData,
    shared: Shared,
) -> EvaluationRole:
    evaluator = Evaluator(
        space_of(config),
        gate_of(config, judge),
        Converter(),
        data,
        open_test,
        _evaluation_settings_of(config),
    )
    agent = EvaluationAgent(conversation_of(config, "evaluation", endpoint, shared))
    return EvaluationRole(evaluator, agent, budget_of(config))


def _evaluation_settings_of(config: RunConfig) -> EvaluationSettings:
    asked = config.evaluation
    return EvaluationSettings(
        asked.calibration_images,
        asked.validation_images,
        asked.parity_images,
        asked.parity_tolerance,
        asked.processes,
        asked.time_limit_seconds,
        asked.most_int8_drop,
        replace(
            config.training.recipe, epochs=asked.fine_tuning_epochs, learning_rate=asked.fine_tuning_rate, shares=()
        ),
    )


def _deployment_of(
    config: RunConfig, provenance: dict[str, str], endpoint: Endpoint | None, data: TrainingData, shared: Shared
) -> DeploymentRole:
    agent = DeployAgent(conversation_of(config, "deploy", endpoint, shared))
    return DeploymentRole(
        deployer_of(config), agent, data, config.task, budget_of(config), provenance, config.deploy.sample_images
    )


def prover_settings_of(config: RunConfig) -> ProverSettings | None:
    """How firmware is built and run, None for not at all. Raises `ConfigError` for settings that do not go together."""
    asked = config.deploy
    if asked.link == "none":
        return None
    return ProverSettings(
        asked.link,
        asked.toolchain,
        asked.kernels,
        asked.keep_constant_channels,
        asked.port,
        asked.flasher,
        asked.probe,
    )


def deployer_of(config: RunConfig) -> Deployer:
    """What deploys, from where the board is wired up. Raises as `prover_settings_of`."""
    settings = prover_settings_of(config)
    if settings is None:
        return Deployer(config.board, None, "no firmware was asked for (deploy=files)")
    try:
        if config.deploy.runtime == "st":
            return _st_deployer_of(config, settings)
        return Deployer(config.board, prover_for(config.board, settings))
    except InfraFailure as error:  # a missing program costs the proof, not the run
        return Deployer(config.board, None, str(error))


def _st_deployer_of(config: RunConfig, settings: ProverSettings) -> Deployer:
    from automcu.deploy.st.deployer import StDeployer
    from automcu.deploy.st.route import StRoute
    from automcu.feasibility.st.stedgeai import find_stedgeai

    asked = config.feasibility
    program = find_stedgeai(asked.stedgeai)
    if program is None:
        raise InfraFailure(
            f"ST's runtime is to run this network, and {asked.stedgeai} was not found; install ST Edge AI, or give its "
            "path (feasibility.stedgeai)"
        )
    return StDeployer(config.board, StRoute(program, config.board, asked.time_limit_seconds), settings)


def blueprint_of(
    config: RunConfig, judge: Judge, provenance: dict[str, str], endpoint: Endpoint | None, folder: Path
) -> Blueprint:
    """What an executor builds the roles from. `provenance` goes into the bundle's evidence; `endpoint` is of the model
    that the run serves, if it does; `folder` is the run's."""
    asking = roles_asking(config)
    open_test = partial(load_test, config.task, *_where_data_is(config))
    shares_context = asking and config.agents.context == "shared"
    return Blueprint(
        make_meter=partial(meter_of, config) if asking else None,
        make_context=partial(Transcript, config.agents.memory_chars) if shares_context else None,
        make_supervisor=partial(supervisor_of, config, endpoint) if "supervisor" in asking else None,
        make_proposer=partial(proposer_of, config, endpoint),
        make_gate=partial(gate_of, config, judge),
        make_training_agent=partial(training_agent_of, config, endpoint) if "training" in asking else None,
        make_training=partial(_training_of, config, folder),
        make_evaluation=partial(_evaluation_of, config, judge, open_test, endpoint),
        make_deployment=partial(_deployment_of, config, provenance, endpoint),
        board=config.board.name,
        epochs=config.training.recipe.epochs,
        grace_epochs=config.search.grace_epochs,
        reduction_factor=config.search.reduction_factor,
        trial_cpus=config.training.cpus,
        trial_gpus=config.training.gpus,
        final_cpus=config.final.cpus,
        final_gpus=config.final.gpus,
        checkers=config.feasibility.actors,
    )
