"""Every configuration file composes to a typed configuration; whatever is misspelt or out of range is refused."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from automcu.architecture import Architecture
from automcu.build import Judge, budget_of, gate_of, judge_of, limits_of, proposer_of, require_roles, space_of
from automcu.build_agents import model_of, roles_asking, served_of, without_missing_model
from automcu.config import RunConfig, read_benchmark, read_config
from automcu.errors import ConfigError
from automcu.executors.blueprint import Shared
from automcu.llm.endpoint import Endpoint
from automcu.proposal import Proposer
from tests import builders

CONF = Path(__file__).parent.parent / "conf"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        container = OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def proposer(config: RunConfig) -> Proposer:
    """The proposer, as if the model that the run serves were served."""
    return proposer_of(config, Endpoint("tiny", "http://127.0.0.1:9/v1", "key"), Shared(None, None))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_builds(experiment: str) -> None:
    whole = composed(f"+experiment={experiment}")
    if "benchmark" in whole:
        assert read_benchmark(whole).benchmark.queries == 100
        return
    config = read_config(whole)
    space = space_of(config)
    assert space.build(space.smallest()).output
    assert budget_of(config).ram_bytes <= config.board.ram_bytes
    assert limits_of(config).seconds == 60 * config.budget.minutes
    names = {"quickstart": "hybrid", "llm_sweep": "llm", "ablation": "llm"}
    assert proposer(config).name == names.get(experiment, "evolution")


@pytest.mark.parametrize("method", sorted(path.stem for path in (CONF / "method").glob("*.yaml")))
def test_the_ablation_asks_models_in_every_role_or_in_none(method: str) -> None:
    config = read_config(composed("+experiment=ablation", f"method={method}"))
    assert len(roles_asking(config)) == {"llm": 5, "code": 0}[method]


@pytest.mark.parametrize("peer", sorted(path.stem for path in (CONF / "peer").glob("*.yaml")))
def test_every_peer_works_on_the_same_task_with_its_own_policy(peer: str) -> None:
    config, plain = (
        read_config(composed("+experiment=peers", f"+peer={peer}")),
        read_config(composed("+experiment=peers")),
    )
    for name in ("task", "data", "board", "budget", "training", "final", "evaluation"):
        assert getattr(config, name) == getattr(plain, name)
    policies = {"colabnas": "after_first_epoch", "unas": "after_training"}
    assert config.search.check == policies.get(peer, "before_training")
    names = {"automcu": "evolution", "automcu_llm": "hybrid"}
    assert proposer(config).name == names.get(peer, peer)


@pytest.mark.parametrize("chosen", sorted(path.stem for path in (CONF / "proposer").glob("*.yaml")))
def test_every_experiment_takes_every_proposer(chosen: str) -> None:
    """So none may set a key that only some proposers have: it would be left over with the others."""
    for path in (CONF / "experiment").glob("*.yaml"):
        whole = composed(f"+experiment={path.stem}", f"proposer={chosen}")
        if "benchmark" not in whole:
            assert read_config(whole).proposer.kind == whole["proposer"]["kind"]


OPTIONS = [
    (group.name, option.stem)
    for group in sorted(CONF.iterdir())
    if group.is_dir() and group.name not in ("experiment", "benchmark", "peer", "method")
    for option in sorted(group.glob("*.yaml"))
]


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_of_every_group_is_valid(group: str, option: str) -> None:
    raw = composed(f"{group}={option}")

    def fill(node: Any, key: str = "") -> Any:
        if isinstance(node, dict):
            return {key: [8, 8, 1] if key == "input_shape" else fill(value, key) for key, value in node.items()}
        return 10 if key == "class_count" else "filled-in" if node == "???" else node

    assert isinstance(read_config(fill(raw)), RunConfig)


def test_the_budget_never_exceeds_what_the_board_has_left() -> None:
    config = read_config(composed("board=nucleo_l432kc", "budget=ram256_flash512"))
    budget = budget_of(config)
    assert budget.ram_bytes == 64 * 1024 - config.board.reserved_ram_bytes
    assert budget.flash_bytes == 256 * 1024
    assert budget_of(read_config(composed("board=nucleo_l432kc", "budget=ram64_flash64"))).flash_bytes == 64_000


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("+budget.minuts=3", "budget.minuts"),
        ("+proposer.populaton=3", "proposer.populaton"),
        ("budget.minutes=0", "budget.minutes"),
        ("budget.minutes=soon", "budget.minutes"),
        ("budget.ram_kb=-1", "budget.ram_kb"),
        ("proposer.kind=oracle", "proposer"),
        ("data.validation_share=1.5", "data.validation_share"),
        ("+surprise=1", "surprise"),
        ("feasibility.tier=oracle", "feasibility.tier"),
        ("feasibility.time_limit_seconds=0", "feasibility.time_limit_seconds"),
        ("feasibility.actors=0", "feasibility.actors"),
        ("deploy.runtime=tvm", "deploy.runtime"),
    ],
)
def test_what_is_misspelt_or_out_of_range_is_named(override: str, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        read_config(composed(override))


def test_a_recipe_out_of_range_is_named() -> None:
    with pytest.raises(ConfigError, match="epochs"):
        read_config(composed("training.recipe.epochs=0"))


def test_a_board_without_ram_is_refused() -> None:
    with pytest.raises(ConfigError, match="ram region"):
        builders.board(regions=())


def test_an_llm_proposer_without_an_llm_is_refused_with_the_remedy() -> None:
    for kind in ("llm", "hybrid"):
        with pytest.raises(ConfigError, match="add llm=local"):
            proposer(read_config(composed(f"proposer={kind}")))


def test_each_role_may_have_a_model_of_its_own() -> None:
    config = read_config(composed("proposer=hybrid", "llm=deepseek", "agents=team", "+llm@agents.training.llm=openai"))
    assert roles_asking(config) == ("proposal", "supervisor", "training", "evaluation", "deploy")
    models = {role: getattr(model_of(config, role), "model", "") for role in roles_asking(config)}
    assert models.pop("training") == "gpt-5-mini" and set(models.values()) == {"deepseek/deepseek-v3.2"}
    require_roles(config)


def test_a_run_serves_one_model_only() -> None:
    config = read_config(composed("proposer=hybrid", "llm=local", "agents=team", "+llm@agents.deploy.llm=vllm"))
    with pytest.raises(ConfigError, match="one model only"):
        served_of(config)


def test_a_local_model_that_is_not_installed_leaves_a_hybrid_to_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automcu.serving.engine.importlib.util.find_spec", lambda name: None)
    config, why = without_missing_model(read_config(composed("+experiment=quickstart", "agents=team")))
    assert "install automcu[local-llm]" in why
    assert roles_asking(config) == () and proposer(config).name == "evolution"
    with pytest.raises(ConfigError, match=r"automcu\[local-llm\]"):
        without_missing_model(read_config(composed("proposer=llm", "llm=local")))


@pytest.mark.parametrize("tier", ["auto", "planner", "tflm", "st_estimate", "stedgeai", "st_cloud"])
def test_every_tier_has_a_file(tier: str) -> None:
    config = read_config(composed(f"feasibility={tier}"))
    assert config.feasibility.tier == tier and config.feasibility.tool_version is None
    assert config.deploy.runtime == "automcu"


def test_a_tool_version_on_the_command_line_may_look_like_a_number() -> None:
    config = read_config(composed("feasibility=st_estimate", "feasibility.tool_version=8.1"))
    assert config.feasibility.tool_version == "8.1"
    assert judge_of(config).version == "8.1"


def judged(*overrides: str) -> tuple[Judge, tuple[str, ...]]:
    """Who judges, and the tiers that report on the smallest network before and after the slow tool is needed."""
    config = read_config(composed("board=nucleo_f446re", *overrides))
    judge = judge_of(config)
    return judge, _tiers(gate_of(config, judge), space_of(config).smallest())


def _tiers(gate: Any, smallest: Architecture) -> tuple[str, ...]:
    screened = gate.screen(smallest)
    try:
        return ("-" if screened is None else screened.report.tier, gate.check(smallest).report.tier)
    finally:
        gate.close()


def test_the_gate_follows_the_tier_and_the_runtime() -> None:
    judge, tiers = judged("feasibility=planner")
    assert (judge.tier, tiers) == ("planner", ("planner", "planner"))
    assert str(judge) == f"planner {judge.version} for cortex-m4f (planner was asked for)"
    _, tiers = judged("feasibility=st_estimate", "deploy.runtime=st")
    assert tiers == ("st_estimate", "st_estimate")
    _, tiers = judged("feasibility=tflm")
    assert tiers == ("-", "tflm")


def test_what_is_too_large_for_our_runtime_is_refused_by_the_planner_whoever_else_judges() -> None:
    for overrides, tier in (((), "planner"), (("deploy.runtime=st",), "st_estimate")):
        config = read_config(composed("budget.ram_kb=0.5", "feasibility=st_estimate", *overrides))
        verdict = gate_of(config, judge_of(config)).check(space_of(config).smallest())
        assert not verdict.fits and verdict.report.tier == tier


def test_a_vendor_tool_is_screened_for_by_its_own_version_and_by_the_planner_for_our_runtime() -> None:
    program = Path("/bin/true")
    for runtime, tier in (("st", "st_estimate_low"), ("automcu", "planner")):
        config = read_config(
            composed(
                "budget.ram_kb=0.5",
                "feasibility=stedgeai",
                f"feasibility.stedgeai={program}",
                f"deploy.runtime={runtime}",
            )
        )
        verdict = gate_of(config, Judge("stedgeai", "8.0.0-19389", "stm32l0", "")).check(space_of(config).smallest())
        assert verdict.report.tier == tier
        assert tier == "planner" or verdict.report.tool_version == "8.0"
