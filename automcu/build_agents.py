"""From a typed configuration to agent roles and the language models behind them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from math import inf

from automcu.agents.intake import Intake
from automcu.agents.supervisor import SupervisorAgent
from automcu.agents.training import TrainingAgent
from automcu.config import (
    AdvisorConfig,
    BudgetConfig,
    EvolutionConfig,
    HybridConfig,
    LiteLLMConfig,
    LLMConfig,
    LLMProposerConfig,
    LocalConfig,
    NoLLMConfig,
    ReplayConfig,
    RunConfig,
    ScriptedConfig,
    VllmConfig,
)
from automcu.errors import ConfigError
from automcu.exchange import Exchange, Role
from automcu.executors.blueprint import Past, Shared
from automcu.llm.client import LLM
from automcu.llm.conversation import Conversation, Transcript
from automcu.llm.endpoint import Endpoint
from automcu.llm.meter import Meter, Metered, SharedMeter
from automcu.llm.prices import price_of
from automcu.report.costs import Expected, expected_calls
from automcu.search import Limits
from automcu.serving.engine import LocalModel
from automcu.serving.local import serve_local
from automcu.work import Exchanged

_ADVISORS: tuple[Role, ...] = ("supervisor", "training", "evaluation", "deploy")
_ADVISOR_PROMPT_CHARS = 2_000
_INTAKE_TOKENS = 800
_CALL_SHARE = 0.1
"""Share of a run's time that one call may take at most: a model that hangs must leave time for the search."""


def model_of(config: RunConfig, role: Role) -> LLMConfig:
    """The model that `role` asks: its own, or the run's."""
    own: LLMConfig | None = getattr(config.agents, role).llm
    return config.llm if own is None else own


def roles_asking(config: RunConfig) -> tuple[Role, ...]:
    """The roles of a search that are to ask a language model."""
    proposal: tuple[Role, ...] = ("proposal",) if isinstance(config.proposer, LLMProposerConfig | HybridConfig) else ()
    # The supervisor agent is asked about nothing but what became of proposals.
    advisors = _ADVISORS if config.search.feedback else _ADVISORS[1:]
    return proposal + tuple(role for role in advisors if getattr(config.agents, role).by == "llm")


def without_missing_model(config: RunConfig) -> tuple[RunConfig, str]:
    """The configuration as it can be run, and why not as it is (or nothing): where what it takes to serve a hybrid's
    model is not installed, code proposes alone. Raises `ConfigError` where a model is missing that the run cannot do
    without."""
    served = served_of(config)
    if not isinstance(served, LocalConfig):
        return config, ""
    try:
        _local(served).require()
    except ConfigError as error:
        if not isinstance(config.proposer, HybridConfig):
            raise
        return by_code(config), str(error)
    return config, ""


def by_code(config: RunConfig) -> RunConfig:
    """The same run without a language model: evolution proposes, and code fills the other roles."""
    starters = isinstance(config.proposer, HybridConfig) and config.proposer.starters
    evolution = EvolutionConfig(kind="evolution", population=16, tournament=8, starters=starters)
    roles: dict[str, object] = {
        role: getattr(config.agents, role).model_copy(update={"by": "code"}) for role in _ADVISORS
    }
    return config.model_copy(update={"proposer": evolution, "agents": config.agents.model_copy(update=roles)})


def served_of(config: RunConfig) -> LocalConfig | VllmConfig | None:
    """The model that the run must serve for its roles, if one does. Raises `ConfigError` when several would be."""
    models = [model_of(config, role) for role in roles_asking(config)]
    served = [model for model in models if isinstance(model, LocalConfig | VllmConfig)]
    if any(model != served[0] for model in served):
        raise ConfigError("a run serves one model only; give all roles the same local or vllm model")
    return served[0] if served else None


@contextmanager
def serving(config: RunConfig, *, on_ray: bool) -> Iterator[Endpoint | None]:
    """The endpoint of the model that the run serves for its roles, while the context lasts; None where it serves none.

    Raises `ConfigError` when something is missing, `InfraFailure` when the model does not start.
    """
    match served_of(config):
        case None:
            yield None
        case LocalConfig() as local:
            with serve_local(_local(local), on_ray=on_ray) as endpoint:
                yield endpoint
        case VllmConfig() as vllm:
            if not on_ray:
                raise ConfigError("llm=vllm needs a Ray cluster; use cluster=join, or another llm")
            from automcu.serving.vllm import VLLMModel, serve_vllm

            model = VLLMModel(vllm.model, vllm.gpus, vllm.context_tokens)
            with serve_vllm(model) as endpoint:
                yield endpoint


def _local(asked: LocalConfig) -> LocalModel:
    return LocalModel(asked.weights, asked.threads, asked.context_tokens)


def conversation_of(config: RunConfig, role: Role, endpoint: Endpoint | None, shared: Shared) -> Conversation | None:
    """The conversation of `role`, None where code decides. Raises `ConfigError` when its model is none."""
    asked = getattr(config.agents, role)
    if isinstance(asked, AdvisorConfig) and asked.by == "code":
        return None
    call_seconds = _CALL_SHARE * 60 * config.budget.minutes
    llm = _llm_of(model_of(config, role), role, config.seed, endpoint, call_seconds)
    return Conversation(
        role,
        llm if shared.meter is None else Metered(llm, shared.meter, most_waited_s=call_seconds),
        shared.context or Transcript(config.agents.memory_chars),
        max_tokens=asked.max_tokens,
        token_budget=asked.token_budget,
    )


def supervisor_of(config: RunConfig, endpoint: Endpoint | None, shared: Shared) -> SupervisorAgent:
    """The supervisor agent."""
    return SupervisorAgent(conversation_of(config, "supervisor", endpoint, shared))


def training_agent_of(config: RunConfig, endpoint: Endpoint | None, shared: Shared) -> TrainingAgent:
    """The training agent."""
    return TrainingAgent(conversation_of(config, "training", endpoint, shared))


@contextmanager
def intake_with(llm: LLMConfig) -> Iterator[Intake]:
    """The intake agent with a model of its own; one on this machine is served while the context lasts. Raises
    `ConfigError` when there can be none."""
    with ExitStack() as stack:
        endpoint = None
        if isinstance(llm, LocalConfig):
            endpoint = stack.enter_context(serve_local(_local(llm), on_ray=False))
        model = _llm_of(llm, "intake", 0, endpoint, inf)
        yield Intake(Conversation("intake", model, Transcript(0), max_tokens=_INTAKE_TOKENS))


@contextmanager
def metered_models(llm: LLMConfig, budget: BudgetConfig, spent: Iterable[Exchange]) -> Iterator[Callable[[int], LLM]]:
    """A model for each seed, all of them within the caps of `budget` less what was `spent`; one on this machine is
    served while the context lasts. Raises `ConfigError` when there can be none."""
    with ExitStack() as stack:
        endpoint = None
        if isinstance(llm, LocalConfig):
            endpoint = stack.enter_context(serve_local(_local(llm), on_ray=False))
        meter = SharedMeter(_meter(llm, _less(budget, spent)))
        _llm_of(llm, "proposal", 0, endpoint, inf)  # what is wrong with it is better told now
        yield lambda seed: Metered(_llm_of(llm, "proposal", seed, endpoint, inf), meter)


def model_name(llm: LLMConfig) -> str:
    """What the model is called in reports; that of `local` with its quantization."""
    if isinstance(llm, LocalConfig):
        return _local(llm).name
    return getattr(llm, "model", llm.kind)


def less_spent(config: RunConfig, past: Past) -> RunConfig:
    """The configuration of what is left of a resumed run: its caps less what was used before."""
    exchanges = (outcome.exchange for _, outcome in past if isinstance(outcome, Exchanged))
    return config.model_copy(update={"budget": _less(config.budget, exchanges)})


def _less(budget: BudgetConfig, spent: Iterable[Exchange]) -> BudgetConfig:
    exchanges = list(spent)
    left: dict[str, object] = {}
    if budget.tokens is not None:
        left["tokens"] = max(budget.tokens - sum(one.tokens_in + one.tokens_out for one in exchanges), 1)
    if budget.usd is not None:
        left["usd"] = max(budget.usd - sum(one.usd or 0.0 for one in exchanges), 1e-9)
    return budget.model_copy(update=left)


def meter_of(config: RunConfig) -> Meter:
    """What the models of all roles may use: the caps of the budget, and the limits per minute of the run's model."""
    return _meter(config.llm, config.budget)


def _meter(llm: LLMConfig, budget: BudgetConfig) -> Meter:
    limits = llm if isinstance(llm, LiteLLMConfig) else None
    return Meter(
        requests_per_minute=limits.requests_per_minute if limits else None,
        tokens_per_minute=limits.tokens_per_minute if limits else None,
        tokens=budget.tokens,
        usd=budget.usd,
    )


def expected_of(config: RunConfig, limits: Limits, proposal_prompt_chars: int) -> Sequence[Expected]:
    """What the roles of a search may ask of their models; the proposal agent's first prompt has so many characters."""
    expected = []
    for role in roles_asking(config):
        asked = model_of(config, role)
        name = getattr(asked, "model", asked.kind)
        hybrid = config.proposer if isinstance(config.proposer, HybridConfig) and role == "proposal" else None
        pace = (hybrid.warm_start, hybrid.patience) if hybrid else (0, 0)
        chars = proposal_prompt_chars if role == "proposal" else _ADVISOR_PROMPT_CHARS
        price = price_of(name) if isinstance(asked, LiteLLMConfig) and asked.api_base is None else None
        expected.append(
            Expected(
                role,
                name,
                *expected_calls(role, limits, *pace),
                chars,
                config.agents.memory_chars,
                getattr(config.agents, role).max_tokens,
                price,
            )
        )
    return expected


def _llm_of(asked: LLMConfig, role: Role, seed: int, endpoint: Endpoint | None, call_seconds: float) -> LLM:
    """The model of `role`; a call of a real one, its fallbacks included, ends within `call_seconds`."""
    match asked:
        case NoLLMConfig():
            raise ConfigError(
                f"the {role} agent needs a language model; add llm=local, or llm=deepseek or another of conf/llm, or "
                "use proposer=evolution agents=solo"
            )
        case ScriptedConfig(replies=replies):
            from automcu.llm.scripted import ScriptedLLM

            return ScriptedLLM.from_file(replies)
        case ReplayConfig(run=run, strict=strict):
            from automcu.journal import exchanges_of
            from automcu.llm.replay import ReplayLLM

            return ReplayLLM(role, exchanges_of(run / "journal.jsonl", role), strict=strict)
        case LiteLLMConfig():
            from automcu.llm.fallbacks import Fallbacks
            from automcu.llm.litellm_client import LiteLLMClient

            client = partial(
                LiteLLMClient,
                temperature=asked.temperature,
                seed=seed,
                timeout_s=asked.timeout_seconds,
                deadline_s=min(asked.deadline_seconds, call_seconds / (1 + len(asked.fallbacks))),
                attempts=asked.attempts,
            )
            models = [
                client(model.model, api_base=model.api_base, key_variable=model.key_variable)
                for model in (asked, *asked.fallbacks)
            ]
            return Fallbacks(models) if asked.fallbacks else models[0]
        case LocalConfig() | VllmConfig():
            if endpoint is None:
                raise ConfigError(f"llm={asked.kind} is served to a search only; use a hosted model, or none")
            from automcu.llm.litellm_client import LiteLLMClient

            return LiteLLMClient(
                f"openai/{endpoint.model}",
                name=endpoint.model,
                api_base=endpoint.api_base,
                key=endpoint.key,
                temperature=asked.temperature,
                seed=seed,
                timeout_s=asked.timeout_seconds,
                deadline_s=min(asked.deadline_seconds, call_seconds),
                attempts=asked.attempts,
            )
