"""The configuration of a run, typed: what Hydra composes from `conf/` becomes a `RunConfig`, or a `ConfigError`.

Hydra refuses overrides of keys that do not exist; this schema refuses whatever else is misspelt or out of range, with
the path of the key. Sizes are in KB of 1,000 bytes, as published MCU limits are.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)

from automcu.architecture import Task
from automcu.board import Board
from automcu.deploy.choice import FlasherName, KernelsName, LinkName, ToolchainName
from automcu.errors import ConfigError
from automcu.feasibility.choice import Runtime, TierName
from automcu.nasbench.table import DataSet, Epochs
from automcu.proposers.forms import Mode
from automcu.training.recipe import Recipe

_LLMS = Path(__file__).parent.parent / "conf" / "llm"
Share = Annotated[float, Field(gt=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Section):
    """How much of the data is used. `max_images` bounds what the search trains on, null takes all."""

    validation_share: Share
    max_images: PositiveInt | None


class NamedDataConfig(DataConfig):
    """A data set that AutoMCU knows by name, looked for below `root` first."""

    kind: Literal["named"]
    root: str | None


class OwnDataConfig(DataConfig):
    """The user's own images at `path`, see `automcu.training.own_data.OwnData`."""

    kind: Literal["own"]
    path: Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]
    fit: bool
    label: str


class BudgetConfig(_Section):
    """Limits of the network, and of the run: minutes of wall time, trained candidates, proposals, and what all language
    models together may use, tokens in and out and US dollars (null for no limit)."""

    ram_kb: PositiveFloat | None
    flash_kb: PositiveFloat | None
    macs: PositiveInt | None
    latency_ms: PositiveFloat | None
    minutes: PositiveFloat
    candidates: PositiveInt
    proposals: PositiveInt
    tokens: PositiveInt | None
    usd: PositiveFloat | None


class SpaceConfig(_Section):
    """The search space by name."""

    name: str


class GivenConfig(_Section):
    """The architectures of the JSON files `architectures`, in order, and no others."""

    kind: Literal["given"]
    architectures: tuple[Annotated[Path, AfterValidator(Path.absolute)], ...]


class RandomConfig(_Section):
    """Random search."""

    kind: Literal["random"]


class LocalSearchConfig(_Section):
    """Local search."""

    kind: Literal["local_search"]


class TPEConfig(_Section):
    """Optuna's tree-structured Parzen estimator."""

    kind: Literal["tpe"]


class EvolutionConfig(_Section):
    """Regularized evolution, with `starters` from the families of the space that are known to be good."""

    kind: Literal["evolution"]
    population: PositiveInt
    tournament: PositiveInt
    starters: bool


class SurrogateConfig(_Section):
    """Bayesian optimisation, with `starters` from the families of the space that are known to be good."""

    kind: Literal["surrogate"]
    starters: bool


class ColabNASConfig(_Section):
    """ColabNAS, which grows two integers."""

    kind: Literal["colabnas"]


class UNASConfig(_Section):
    """Evolution with the limits in its fitness, after uNAS; `error_bound` is the share of wrong answers that would
    do."""

    kind: Literal["unas"]
    population: PositiveInt
    tournament: PositiveInt
    error_bound: Share


class LLMProposerConfig(_Section):
    """A language model proposes, whole architectures or edits from a menu; with `fallback` evolution takes over a round
    in which it fails."""

    kind: Literal["llm"]
    mode: Mode
    fallback: bool


class HybridConfig(_Section):
    """A language model makes the first `warm_start` proposals, evolution the others, with `starters` as in
    `EvolutionConfig`; the model is asked again once `patience` trained candidates were no better than the best."""

    kind: Literal["hybrid"]
    mode: Mode
    warm_start: NonNegativeInt
    patience: PositiveInt
    starters: bool


class NoLLMConfig(_Section):
    """No language model."""

    kind: Literal["none"]


class ScriptedConfig(_Section):
    """Replies from a JSON file that holds a list of strings."""

    kind: Literal["scripted"]
    replies: Annotated[Path, AfterValidator(Path.absolute)]  # read by an actor, whose current folder is another


class ReplayConfig(_Section):
    """The recorded exchanges of the run in folder `run`; `strict` refuses a request that is not among them."""

    kind: Literal["replay"]
    run: Annotated[Path, AfterValidator(Path.absolute)]
    strict: bool


class ModelConfig(_Section):
    """A model as litellm names it. The key comes from the environment variable `key_variable`, never from here."""

    model: str
    api_base: str | None
    key_variable: str | None


class LiteLLMConfig(ModelConfig):
    """Any model that litellm reaches, how it is asked, and which models are asked in its place while it fails. The
    limits per minute hold for all roles together, null for none. One call takes at most `deadline_seconds`, and at most
    a tenth of the run's time."""

    kind: Literal["litellm"]
    temperature: Annotated[float, Field(ge=0, le=2)]
    timeout_seconds: PositiveFloat
    deadline_seconds: PositiveFloat
    attempts: PositiveInt
    fallbacks: tuple[ModelConfig, ...]
    requests_per_minute: PositiveInt | None
    tokens_per_minute: PositiveInt | None


class LocalConfig(_Section):
    """A small model that the run serves for itself, see `automcu.serving`. `weights` is a GGUF file, null for
    SmolLM2-135M-Instruct from the extra `local-llm`; `context_tokens` bounds a prompt with its reply."""

    kind: Literal["local"]
    weights: Annotated[Path, AfterValidator(Path.absolute)] | None
    threads: PositiveInt
    context_tokens: PositiveInt
    temperature: Annotated[float, Field(ge=0, le=2)]
    timeout_seconds: PositiveFloat
    deadline_seconds: PositiveFloat
    attempts: PositiveInt


class VllmConfig(_Section):
    """A model from the Hugging Face hub that the run serves with vLLM on the cluster's GPU nodes."""

    kind: Literal["vllm"]
    model: str
    gpus: PositiveInt
    context_tokens: PositiveInt
    temperature: Annotated[float, Field(ge=0, le=2)]
    timeout_seconds: PositiveFloat
    deadline_seconds: PositiveFloat
    attempts: PositiveInt


LLMConfig = Annotated[
    NoLLMConfig | ScriptedConfig | ReplayConfig | LiteLLMConfig | LocalConfig | VllmConfig, Field(discriminator="kind")
]


class RoleConfig(_Section):
    """What a role's model may use: the run's model unless `llm` gives another, `max_tokens` a reply, `token_budget`
    tokens in all (null for no limit of its own)."""

    llm: LLMConfig | None
    max_tokens: PositiveInt
    token_budget: PositiveInt | None


class AdvisorConfig(RoleConfig):
    """A role that code can fill as well: `by` says who does."""

    by: Literal["code", "llm"]


class AgentsConfig(_Section):
    """The agent roles. `context` isolated: each sees its own conversation; shared: all see one, the ablation of the
    paper. `memory_chars` of earlier turns go before each question."""

    context: Literal["isolated", "shared"]
    memory_chars: NonNegativeInt
    supervisor: AdvisorConfig
    proposal: RoleConfig
    training: AdvisorConfig
    evaluation: AdvisorConfig
    deploy: AdvisorConfig


class FeasibilityConfig(_Section):
    """How fit is judged, see `automcu.feasibility.choice`; `actors` is the size of the pool."""

    tier: TierName
    stedgeai: str
    tool_version: Annotated[str | None, Field(coerce_numbers_to_str=True)]  # 4.0 on a command line is a number
    time_limit_seconds: PositiveFloat
    actors: PositiveInt


class TrainingConfig(_Section):
    """How a candidate is trained, and what a trial may use."""

    recipe: Recipe
    cpus: PositiveInt
    gpus: Annotated[float, Field(ge=0)]


class FinalConfig(TrainingConfig):
    """The final phase: the `candidates` best of the search (0 for none) are trained again, for at most `minutes` each
    on top of the run's. With `all_images` they are trained on the validation images too, so that the search's ranking
    says which one ships; else their validation accuracy after this training does."""

    candidates: NonNegativeInt
    minutes: PositiveFloat
    all_images: bool


class SearchConfig(_Section):
    """How the search is paced, see `automcu.search.Limits`; and ASHA's first rung (epochs) and reduction factor.

    Two ways to do without what a search lives by, to compare with: `check` after the first epoch or after training,
    when what does not fit has been trained in vain; without `feedback` no role is told what became of a proposal, and
    the supervisor agent is not asked.
    """

    batch: PositiveInt
    lookahead: PositiveInt
    finish_share: Share
    attempts: PositiveInt
    grace_epochs: PositiveInt
    reduction_factor: Annotated[int, Field(ge=2)]
    check: Literal["before_training", "after_first_epoch", "after_training"]
    feedback: bool


class EvaluationConfig(_Section):
    """How the int8 file is measured, see `automcu.evaluation.EvaluationSettings`; and for how many epochs, at which
    learning rate, the recipe of the search goes on in simulated int8."""

    calibration_images: PositiveInt
    validation_images: PositiveInt
    parity_images: PositiveInt
    parity_tolerance: PositiveFloat
    processes: PositiveInt
    time_limit_seconds: PositiveFloat
    most_int8_drop: Annotated[float, Field(ge=0, le=1)]
    fine_tuning_epochs: PositiveInt
    fine_tuning_rate: PositiveFloat


class ClusterConfig(_Section):
    """Where work runs: in this process, on a local Ray, or on the Ray cluster at `address`.

    `cpus` null takes all. `object_store_mb` is in 1,000,000 bytes.
    """

    kind: Literal["inline", "local", "join"]
    address: str | None
    cpus: PositiveInt | None
    gpus: NonNegativeInt
    object_store_mb: Annotated[int, Field(ge=100)]


class DeployConfig(_Section):
    """What is deployed: the runtime that is to run the network on the board, which decides how fit is judged; how its
    firmware is built and run, see `automcu.deploy.choice.ProverSettings`, `link` none for not at all; and how many
    sample inputs with their expected outputs are run and put into the bundle."""

    runtime: Runtime
    link: LinkName | Literal["none"]
    toolchain: ToolchainName
    kernels: KernelsName
    keep_constant_channels: bool
    port: str | None
    flasher: FlasherName
    probe: str | None
    sample_images: PositiveInt


class RunConfig(_Section):
    """One run. `teacher` is the folder of another one, for recipes with distillation; see `automcu.build_teacher`."""

    seed: NonNegativeInt
    teacher: Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())] | None
    task: Task
    data: Annotated[NamedDataConfig | OwnDataConfig, Field(discriminator="kind")]
    board: Board
    budget: BudgetConfig
    space: SpaceConfig
    proposer: Annotated[
        GivenConfig
        | RandomConfig
        | LocalSearchConfig
        | TPEConfig
        | EvolutionConfig
        | SurrogateConfig
        | ColabNASConfig
        | UNASConfig
        | LLMProposerConfig
        | HybridConfig,
        Field(discriminator="kind"),
    ]
    llm: LLMConfig
    agents: AgentsConfig
    feasibility: FeasibilityConfig
    training: TrainingConfig
    final: FinalConfig
    search: SearchConfig
    evaluation: EvaluationConfig
    cluster: ClusterConfig
    deploy: DeployConfig


class NasBenchConfig(_Section):
    """What is compared on the table of NAS-Bench-201, see `automcu.nasbench.comparison.Comparison`; and how many of the
    searches that ask a model may run at a time."""

    methods: tuple[str, ...]
    data_sets: tuple[DataSet, ...]
    seeds: PositiveInt
    first_seed: NonNegativeInt
    queries: PositiveInt
    epochs: Epochs
    noise: bool
    asked_at_once: PositiveInt


class BenchmarkConfig(BaseModel):
    """One comparison: of a run's configuration it takes where data lies and where work runs, the language model for
    methods that ask one, and the caps on its tokens and dollars."""

    model_config = ConfigDict(frozen=True)
    benchmark: NasBenchConfig
    data: NamedDataConfig
    cluster: ClusterConfig
    llm: LLMConfig
    budget: BudgetConfig


def read_benchmark(composed: Mapping[str, Any]) -> BenchmarkConfig:
    """The typed form of a composed configuration with a comparison. Raises `ConfigError` naming the first wrong key."""
    try:
        return BenchmarkConfig.model_validate(composed)
    except ValidationError as error:
        raise _wrong(error) from None


def read_config(composed: Mapping[str, Any]) -> RunConfig:
    """The typed form of a composed configuration. Raises `ConfigError` naming the first wrong key."""
    try:
        return RunConfig.model_validate(composed)
    except ValidationError as error:
        raise _wrong(error, ("proposer", "llm", "data")) from None


def _wrong(error: ValidationError, unions: Collection[str] = ()) -> ConfigError:
    """The first wrong key, in words. A discriminated union puts the chosen kind into the path, which is no key that a
    user could type."""
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"]]
    path = ".".join(parts[:1] + parts[2:] if parts[0] in unions else parts)
    if first["type"] == "extra_forbidden":
        return ConfigError(f"configuration key {path} is unknown; remove it or correct its spelling")
    return ConfigError(f"configuration key {path}: {first['msg'].lower()}, not {first['input']!r}; correct it")


def read_llm(name: str) -> LLMConfig:
    """The model of `conf/llm/NAME.yaml`, read without Hydra. Raises `ConfigError` when there is none that is whole."""
    known = sorted(path.stem for path in _LLMS.glob("*.yaml"))
    if name not in known:
        raise ConfigError(f"no model is named {name!r:.60}; choose one of: {', '.join(known)}")
    try:
        read: LLMConfig = TypeAdapter(LLMConfig).validate_python(yaml.safe_load((_LLMS / f"{name}.yaml").read_text()))
    except ValidationError as error:
        raise ConfigError(
            f"conf/llm/{name}.yaml is not whole ({_key(error)}); complete a copy of it under a name of its own"
        ) from None
    if "???" in str(read):
        raise ConfigError(f"conf/llm/{name}.yaml leaves a value open; complete a copy of it under a name of its own")
    return read


def _key(error: ValidationError) -> str:
    return ".".join(map(str, error.errors()[0]["loc"][1:]))
