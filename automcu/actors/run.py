"""A whole search on Ray, seen from the driver."""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import ray
from ray.actor import ActorHandle
from ray.tune.error import TuneError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from automcu.actors.cluster import BOARD_RESOURCE, require_resources
from automcu.actors.supervisor import Supervisor
from automcu.actors.trials import run_trials
from automcu.errors import InfraFailure, OutputError
from automcu.executors.blueprint import Blueprint, Past, RunEnd
from automcu.journal import Header
from automcu.search import Limits
from automcu.training.data import TrainingData

SUPERVISOR_THREADS = 8
POLL_SECONDS = 0.3


def run_on_ray(
    blueprint: Blueprint,
    limits: Limits,
    header: Header,
    folder: Path,
    data: TrainingData,
    *,
    began: float,
    say: Callable[[str], None],
    past: Past = (),
) -> RunEnd:
    """Run the search on the Ray cluster that this process is connected to, or what is left of it after its `past`.

    `began` is when the run began, by `time.monotonic`. The supervisor is placed on this machine, since it writes
    `folder`. Raises `ConfigError` when the cluster lacks what the run needs, `OutputError` when the run folder cannot
    be written, `InfraFailure` when Ray fails.
    """
    trial = {"CPU": float(blueprint.trial_cpus), "GPU": blueprint.trial_gpus}
    final = {"CPU": float(blueprint.final_cpus), "GPU": blueprint.final_gpus} if limits.final_candidates else {}
    board = {BOARD_RESOURCE.format(blueprint.board): 1.0}
    require_resources({"a training": trial, "the final phase": final, f"deploying to {blueprint.board}": board})
    slots = sum(slots_of(node["Resources"], trial) for node in ray.nodes() if node["Alive"])
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    reference = ray.put(data)
    supervisor = (
        ray.remote(Supervisor)
        .options(num_cpus=0, max_concurrency=SUPERVISOR_THREADS, scheduling_strategy=here)
        .remote(blueprint, limits, header, folder, [reference], began=began, slots=slots, past=past)
    )
    over = threading.Event()
    teller = threading.Thread(target=_tell, args=(supervisor, over, say), daemon=True)
    teller.start()
    try:
        running = supervisor.run.remote()
        run_trials(supervisor, blueprint, reference, str(folder))
        trouble = ray.get(running)
        if trouble is not None:
            raise OutputError(trouble)
        end: RunEnd = ray.get(supervisor.result.remote())
        return end
    except (ray.exceptions.RayError, TuneError) as error:
        said = (str(error).strip().splitlines() or [""])[0]
        raise InfraFailure(
            f"Ray lost a process that the run cannot do without ({said}); see its logs, make sure that memory "
            "suffices, and run again"
        ) from error
    finally:
        over.set()
        teller.join(timeout=5)
        ray.kill(supervisor)


def slots_of(resources: Mapping[str, float], trial: Mapping[str, float]) -> int:
    """How many trials a node takes at once. Ray counts in ten-thousandths, so that five trials of a fifth fit."""
    return int(min(round(resources.get(name, 0) * 1e4) // round(share * 1e4) for name, share in trial.items() if share))


def _tell(supervisor: ActorHandle, over: threading.Event, say: Callable[[str], None]) -> None:
    told = 0
    last = False
    with suppress(ray.exceptions.RayError):
        while not last:
            last = over.wait(POLL_SECONDS)
            for line in ray.get(supervisor.lines.remote(told)):
                say(line)
                told += 1
