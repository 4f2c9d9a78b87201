"""One run, from its composed configuration to its exit code: build, drive, report. Knows nothing of Hydra.

Heavy imports wait until the first lines are on the screen.
"""

import json
import platform
import shlex
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automcu.errors import AutoMCUError, InfraFailure, OutputError
from automcu.redaction import redacted
from automcu.run_folder import RunFolder

if TYPE_CHECKING:
    from automcu.build import Judge
    from automcu.config import RunConfig
    from automcu.executors.blueprint import Past, RunEnd
    from automcu.journal import Header
    from automcu.llm.endpoint import Endpoint
    from automcu.training.data import TrainingData

_PACKAGES = ("automcu", "ray", "torch", "tensorflow", "tflite-micro", "litellm", "numpy", "hydra-core")


def say(line: str) -> None:
    """Print a line at once, also into a pipe; keys are left out."""
    print(redacted(line), flush=True)


def run(composed: Mapping[str, Any], overrides: Sequence[str], folder: Path, began: float) -> int:
    """Carry out one run in `folder`; returns the exit code. `overrides` is the command line that `composed` came from,
    `began` the monotonic time at which the run started.

    Errors that a user can do something about are printed as one sentence, and never raised.
    """
    say(f"AutoMCU {version('automcu')}")
    if (folder / "journal.jsonl").exists():
        told = f"{folder} already holds a run; choose another folder with hydra.run.dir=FOLDER"
        print(f"automcu: {told}", file=sys.stderr, flush=True)
        return 2
    return _to_the_end(folder, began, lambda: _carry_out(composed, overrides, folder, began, ()), composed)


def refused(composed: Mapping[str, Any], folder: Path, message: str) -> int:
    """Say why there is no run of `composed`, and leave a note of it in `folder`, unless a run is there; returns the
    exit code."""
    print(f"automcu: {message}", file=sys.stderr, flush=True)
    if not (folder / "run.json").exists():
        _close(folder, time.monotonic(), 2, message, composed)
    return 2


def run_in_sweep(composed: Mapping[str, Any], overrides: Sequence[str], folder: Path, began: float) -> int:
    """One job of a multirun: what an earlier multirun of the same configuration left in `folder` is not done again. A
    run that ended keeps its exit code, one that was stopped goes on; otherwise as `run`."""
    if not (folder / "journal.jsonl").exists():
        return run(composed, overrides, folder, began)
    try:
        from automcu.build_agents import without_missing_model
        from automcu.config import read_config

        record = json.loads(RunFolder(folder).read("run.json"))
        config, _ = without_missing_model(read_config(composed))
        if record["config"] != config.model_dump(mode="json"):
            raise OutputError(f"{folder} holds a run of another configuration; choose another hydra.sweep.dir")
        if _is_over(folder, record):
            say(f"Done already, exit code {record['exit_code']}: {folder}")
            return int(record["exit_code"])
        return resume(folder)
    except AutoMCUError as error:
        print(f"automcu: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except (ValueError, KeyError, TypeError):
        print(f"automcu: {folder}/run.json is damaged; remove the folder to run it again", file=sys.stderr, flush=True)
        return 2


_ENDED_EARLY = "proposing ended early"


def _is_over(folder: Path, record: Mapping[str, Any]) -> bool:
    """Whether there is nothing left to do in a run: it deployed, or found nothing that could be deployed, but not for
    want of proposals, such as of a model that did not answer."""
    if record["status"] != "ended" or record["exit_code"] not in (0, 1):
        return False
    return (folder / "best").exists() or not record["message"].startswith(_ENDED_EARLY)


def resume(folder: Path) -> int:
    """Carry out what is left of the run in `folder`: what its journal tells is not done again, and counts in its time
    and its caps; but who gave up proposing is asked again. Returns the exit code, as `run` does; raises `OutputError`
    when the folder holds no run, or one that has deployed and ended."""
    from automcu.journal import Ended, Header, read_journal
    from automcu.work import DeployDone, WorkFailed

    say(f"AutoMCU {version('automcu')}")
    entries = list(read_journal(folder / "journal.jsonl"))
    header = entries[0].event if entries else None
    if not isinstance(header, Header):
        raise OutputError(f"the journal of {folder} does not say what was to be done; start a new run")
    past = [
        (seconds, event)
        for seconds, event in ((entry.seconds, entry.event) for entry in entries)
        if not isinstance(event, Header | Ended) and not (isinstance(event, WorkFailed) and event.candidate_id is None)
    ]
    deployed = any(isinstance(event, DeployDone) for _, event in past)
    if deployed and isinstance(entries[-1].event, Ended) and entries[-1].event.exit_code in (0, 1):
        raise OutputError(f"the run in {folder} has deployed its best network; start a new run to search longer")
    say(f"Going on after {entries[-1].seconds:.0f} s and {len(past)} events")
    began = time.monotonic() - entries[-1].seconds
    return _to_the_end(folder, began, lambda: _carry_out(header.config, _overrides(folder), folder, began, past))


def _overrides(folder: Path) -> Sequence[str]:
    """The command line's part of a run's configuration, as Hydra keeps it beside the run."""
    import yaml

    try:
        found = yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return ()
    return [str(one) for one in found] if isinstance(found, list) else ()


def _to_the_end(
    folder: Path, began: float, carry_out: Callable[[], tuple[int, str]], composed: Mapping[str, Any] | None = None
) -> int:
    try:
        with RunFolder(folder).locked():
            code, message = _ended(folder, carry_out)
            if message:
                print(f"automcu: {redacted(message)}", file=sys.stderr, flush=True)
            _close(folder, began, code, message, composed)
            return code
    except AutoMCUError as error:  # the folder is another's, or cannot be written
        print(f"automcu: {redacted(str(error))}", file=sys.stderr, flush=True)
        return error.exit_code


def _ended(folder: Path, carry_out: Callable[[], tuple[int, str]]) -> tuple[int, str]:
    """Exit code and message of a run, whatever happens in it."""
    try:
        return carry_out()
    except AutoMCUError as error:
        return error.exit_code, str(error)
    except KeyboardInterrupt:
        journal = folder / "journal.jsonl"
        what = f"all that was done so far is in {journal}" if journal.exists() else "the search had not begun"
        return 130, f"interrupted; {what}"
    except Exception as error:  # a bug of ours: the story must end all the same
        return 2, _unexpected(error, folder)


def _carry_out(
    composed: Mapping[str, Any], overrides: Sequence[str], folder: Path, began: float, past: "Past"
) -> tuple[int, str]:
    from automcu.config import read_config

    config = read_config(composed)
    from automcu import build
    from automcu.build_agents import without_missing_model
    from automcu.journal import VERSION, Header

    config, missing = without_missing_model(config)
    if missing:
        say(f"Proposals come from code alone: {missing}")

    judge = build.judge_of(config)
    say(f"Fit is judged after int8 quantization by tier {judge}")
    say(f"Task: {config.task.description}")
    budget = build.budget_of(config)
    _announce(config, folder)
    build.prover_settings_of(config)
    # On a cluster that is joined the tools are those of the host that the board is wired to.
    if config.cluster.kind != "join" and (unverified := build.deployer_of(config).unverified):
        say(f"Nothing will be run on a board: {unverified}")
    files = RunFolder(folder)
    header = Header(VERSION, config.model_dump(mode="json"), config.seed, _git_revision(), _versions())
    files.write("run.json", _begun(header))
    with closing(build.gate_of(config, judge)) as gate:
        gate.require_feasible(build.space_of(config).smallest())
    build.require_roles(config)  # a setting that cannot work is better told now than by an actor
    data = build.training_data_of(config)
    build.require_test_data(config)
    count = len(data.for_search().images)
    searched = f" ({count:,} of them in the search)" if count < len(data.images) else ""
    say(
        f"Data: {len(data.images):,} images to train on{searched}, {len(data.validation_images):,} to validate on; the "
        "test set is whole, and stays closed until the end"
    )
    if data.teacher is not None:
        say(f"Teacher: the network that {config.teacher} deployed")
    provenance = {"seed": str(config.seed), "git_revision": str(header.git_revision), **header.versions}
    end = _drive(config, judge, provenance, header, files, data, began, past)
    files.remove_folder("checkpoints")  # of what was given up

    from automcu.report.results import nothing_deployed, write_results

    summary = write_results(
        files,
        config.task,
        config.board,
        budget,
        str(judge),
        end.finished,
        end.funnel,
        end.costs,
        end.stopped_by,
        time.monotonic() - began,
        _longer_search(config, overrides),
    )
    say("")
    say(summary)
    if end.trouble is not None:
        return 1, f"{_ENDED_EARLY}: {end.trouble}"
    return (0, "") if end.funnel.deployed else (1, nothing_deployed(end.funnel, end.finished.values()))


def _drive(
    config: "RunConfig",
    judge: "Judge",
    provenance: dict[str, str],
    header: "Header",
    files: RunFolder,
    data: "TrainingData",
    began: float,
    past: "Past",
) -> "RunEnd":
    from automcu import build
    from automcu.build_agents import less_spent

    limits = build.limits_of(config)
    config = less_spent(config, past)
    if config.cluster.kind == "inline":
        from automcu.executors.inline import run_inline

        with _served(config, on_ray=False) as (config, endpoint):
            blueprint = build.blueprint_of(config, judge, provenance, endpoint, files.path)
            return run_inline(blueprint, limits, header, files, data, lambda: time.monotonic() - began, say, past)
    from automcu.actors import cluster
    from automcu.actors.run import run_on_ray

    say("Starting Ray (about 10 seconds) ..." if config.cluster.kind == "local" else "Joining the Ray cluster ...")
    if config.cluster.kind == "join":
        cluster.join(config.cluster.address or "auto")
    else:
        cluster.start_local(
            cpus=config.cluster.cpus,
            gpus=config.cluster.gpus,
            object_store_bytes=config.cluster.object_store_mb * 1_000_000,
            boards={config.board.name: 1},
        )
    with _served(config, on_ray=True) as (config, endpoint):
        blueprint = build.blueprint_of(config, judge, provenance, endpoint, files.path)
        return run_on_ray(blueprint, limits, header, files.path, data, began=began, say=say, past=past)


@contextmanager
def _served(config: "RunConfig", *, on_ray: bool) -> "Iterator[tuple[RunConfig, Endpoint | None]]":
    """The endpoint of the model that the run serves, if it does, and the run's configuration: without a model where a
    hybrid's does not start."""
    from automcu.build_agents import by_code, serving

    with ExitStack() as stack:
        endpoint = None
        try:
            endpoint = stack.enter_context(serving(config, on_ray=on_ray))
        except InfraFailure as error:
            if config.proposer.kind != "hybrid":
                raise
            say(f"Proposals come from code alone: {error}")
            config = by_code(config)
        yield config, endpoint


def _announce(config: "RunConfig", folder: Path) -> None:
    from automcu import build
    from automcu.build_agents import expected_of, roles_asking
    from automcu.report.costs import estimate

    board, budget = config.board, build.budget_of(config)
    say(f"Board: {board.name} ({board.part}, {board.core}, {board.clock_hz / 1e6:g} MHz)")
    macs = "" if budget.macs is None else f", {budget.macs / 1e6:g} M MACs"
    say(
        f"Budget: at most {budget.ram_bytes / 1000:g} KB of RAM, {budget.flash_bytes / 1000:g} KB of Flash{macs}; "
        f"{config.budget.minutes:g} minutes, {config.budget.candidates} trained candidates"
    )
    if config.final.candidates:
        say(
            f"Final phase: after that the best {config.final.candidates} trained again, for "
            f"{config.final.recipe.epochs} epochs, at most {config.final.minutes:g} minutes each"
            f"{', on the validation images too' * config.final.all_images}"
        )
    asking = roles_asking(config)
    if "proposal" in asking:
        and_code = " and from code" if config.proposer.kind == "hybrid" else ""
        say(f"Proposals come from a language model{and_code}")
    elif config.llm.kind == "none":
        say(
            f"Proposals come from code ({config.proposer.kind}): no LLM is configured; add proposer=hybrid llm=local, "
            "or another of conf/llm, for one"
        )
    else:
        say(
            f"Proposals come from code ({config.proposer.kind}); the configured LLM makes none without proposer=hybrid "
            "or proposer=llm"
        )
    if asking:
        expected = expected_of(config, build.limits_of(config), build.first_prompt_chars(config))
        say(estimate(expected, config.budget.tokens, config.budget.usd))
        if config.budget.usd is not None and any(one.price is None for one in expected):
            say("budget.usd counts known prices only, and one is not known here; budget.tokens caps every model")
    say(f"Run folder: {folder}")


def _longer_search(config: "RunConfig", overrides: Sequence[str]) -> str:
    kept = [
        override
        for override in overrides
        if not override.startswith(("budget.minutes=", "budget.candidates=", "seed="))
    ]
    changed = [f"budget.minutes={2 * config.budget.minutes:g}", f"budget.candidates={2 * config.budget.candidates}"]
    return f"python -m automcu.launch {shlex.join([*kept, *changed, f'seed={config.seed + 1}'])}  (search longer)"


def _close(folder: Path, began: float, code: int, message: str, composed: Mapping[str, Any] | None) -> None:
    """Note how the run ended, also of one that could not begin with what was `composed`. What cannot be written any
    more was told on the screen already."""
    from automcu.journal import Ended, Journal

    try:
        if (folder / "journal.jsonl").exists():
            journal = Journal(folder / "journal.jsonl", lambda: time.monotonic() - began)
            journal(Ended(code, message))
            journal.close()
        files = RunFolder(folder)
        begun = (folder / "run.json").exists()
        record = json.loads(files.read("run.json")) if begun else {"config": _typed(composed)}
        record |= {"status": "ended", "exit_code": code, "message": message}
        files.write("run.json", json.dumps(record, indent=1, default=str).encode())
    except AutoMCUError as error:
        print(f"automcu: {error}", file=sys.stderr, flush=True)


def _typed(composed: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The configuration as a run that begins would note it, where it can be read."""
    from automcu.config import read_config

    try:
        return None if composed is None else read_config(composed).model_dump(mode="json")
    except AutoMCUError:
        return composed


def _unexpected(error: Exception, folder: Path) -> str:
    told = f"unexpected {type(error).__name__}"
    try:
        path = RunFolder(folder).write("error.txt", "".join(traceback.format_exception(error)).encode(errors="replace"))
    except AutoMCUError:
        return f"{told}: {error}; please report it"
    return f"{told}; please report it with {path}"


def _begun(header: "Header") -> bytes:
    record = {
        "status": "running",
        "seed": header.seed,
        "git_revision": header.git_revision,
        "versions": dict(header.versions),
        "config": dict(header.config),
    }
    return json.dumps(record, indent=1).encode()


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def _git_revision() -> str | None:
    """The commit of the source tree, with `+` when it was changed since; None outside a repository."""
    here = Path(__file__).parent
    commands = (["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no"])
    try:
        revision, changes = (
            subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
            for command in commands
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return revision + ("+" if changes else "")
