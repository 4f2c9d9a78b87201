"""What Ray costs the feasibility pool: checks a second one call each, against checks in batches, in one run.

    python -m benchmarks.pool [--checks 2000] [--repeats 3]

Random networks of about 20 operators are judged by the planner: in this process, on one actor with a call for each
(as many calls under way as a batch holds), and by the pool with one actor. Printed: checks a second, median of the
repeats, and the ratio. No report is found in a cache: every repeat has a gate of its own.
"""

import argparse
import random
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import automcu.actors  # noqa: F401  (before Ray, which reads its settings when it is imported)

# isort: split
import ray

from automcu.actors.cluster import start_local, stop_local
from automcu.actors.pool import CHECKS_PER_CALL, CheckPool
from automcu.actors.roles import FeasibilityActor
from automcu.architecture import Candidate
from automcu.board import Budget
from automcu.executors import steps
from automcu.feasibility.gate import Gate
from automcu.feasibility.planner_tier import PlannerTier
from automcu.graph.lowering import lower
from automcu.spaces import make_space
from automcu.work import Check

SPACE = make_space("mcu_cnn", (32, 32, 3), 10)
AMPLE = Budget(10**9, 10**9, None)


def gate() -> Gate:
    return Gate(SPACE, AMPLE, [PlannerTier()])


def networks(count: int) -> list[Check]:
    """Checks of networks with 15 to 25 operators."""
    rng, found = random.Random(0), list[Check]()
    while len(found) < count:
        architecture = SPACE.random(rng)
        if 15 <= len(lower(SPACE.build(architecture)).operators) <= 25:
            found.append(Check(Candidate(len(found) + 1, architecture, "benchmark")))
    return found


def in_this_process(checks: Sequence[Check]) -> Callable[[], None]:
    judge = gate()
    return lambda: [steps.check(judge, check) for check in checks].clear()


def one_by_one(checks: Sequence[Check]) -> Callable[[], None]:
    actor = FeasibilityActor.remote(gate)
    ray.get(actor.screen.remote([]))

    def work() -> None:
        waiting, flying = deque(checks), list[ray.ObjectRef]()
        while waiting or flying:
            while waiting and len(flying) < CHECKS_PER_CALL:
                flying.append(actor.check.remote(waiting.popleft()))
            ready, _ = ray.wait(flying, num_returns=1)
            ready, flying = ray.wait(flying, num_returns=len(flying), timeout=0)
            for reference in ready:
                ray.get(reference)

    return work


def batched(checks: Sequence[Check]) -> Callable[[], None]:
    pool = CheckPool(gate, 1)
    ray.get(pool.actors[0].screen.remote([]))

    def work() -> None:
        waiting, ended = deque(checks), 0
        while ended < len(checks):
            while waiting and pool.room > 0:
                pool.submit(waiting.popleft())
            pool.start()
            ready, _ = ray.wait(list(pool.pending))
            for reference in ready:
                ended += len(pool.land(reference))

    return work


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--checks", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    checks = networks(asked.checks)
    start_local(cpus=2, gpus=0, object_store_bytes=150_000_000)
    rates = dict[str, float]()
    ways = {"in this process": in_this_process, "one call each": one_by_one, "the pool": batched}
    for name, way in ways.items():
        rates[name] = statistics.median(_rate(partial(way, checks), len(checks)) for _ in range(asked.repeats))
        print(f"{name + ':':<17} {rates[name]:8,.0f} checks/s")
    print(f"the pool against one call each: {rates['the pool'] / rates['one call each']:.1f} times as many")
    stop_local()


def _rate(make: Callable[[], Callable[[], None]], count: int) -> float:
    work = make()
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
