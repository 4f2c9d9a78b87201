"""The feasibility pool on Ray: batches, back-pressure, the slow tool asked once each, and actors that die."""

import os
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from automcu.architecture import Architecture, Candidate
from automcu.errors import InfraFailure
from automcu.feasibility.gate import Verdict
from automcu.work import Check, Checked, Outcome, WorkFailed
from tests.builders import report

if TYPE_CHECKING:
    from automcu.actors.pool import CheckPool

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@dataclass(frozen=True)
class Gate:
    """Acts on the text of an architecture: `vendor` needs the slow tool, `kill` ends the process at once and `crash` in
    the slow tool, `flaky` fails by the infrastructure's fault. Leaves a line in `log` for all it looks at."""

    log: Path
    seconds: float = 0.0

    def screen(self, architecture: Architecture) -> Verdict | None:
        self._note("screen", architecture)
        time.sleep(self.seconds)
        if "kill" in architecture.text:
            os._exit(9)
        if "flaky" in architecture.text:
            raise InfraFailure("the disk is full; free some space")
        return None if "vendor" in architecture.text else Verdict(report(), ())

    def check(self, architecture: Architecture) -> Verdict:
        self._note("check", architecture)
        if "crash" in architecture.text:
            os._exit(9)
        return Verdict(report(), ())

    def _note(self, what: str, architecture: Architecture) -> None:
        with self.log.open("a") as log:
            log.write(f"{os.getpid()} {what} {architecture.text}\n")


def checks(texts: Sequence[str]) -> list[Check]:
    return [Check(Candidate(number, Architecture("test", text), "test")) for number, text in enumerate(texts, 1)]


def work_off(pool: "CheckPool", works: Sequence[Check], begun: int = 0, attempts: int = 2) -> dict[int, Outcome]:
    """Hand `works` to the pool, but for the first `begun` that it has already, as a search would, retries included; how
    each candidate ended."""
    import ray

    waiting, ended = deque(works[begun:]), dict[int, Outcome]()
    failures: Counter[int] = Counter()
    deadline = time.monotonic() + 60
    while len(ended) < len(works):
        assert time.monotonic() < deadline, f"{len(works) - len(ended)} of {len(works)} checks never ended"
        while waiting and pool.room > 0:
            pool.submit(waiting.popleft())
        pool.start()
        assert len(pool.pending) <= len(pool.actors) and pool.room >= 0
        ready, _ = ray.wait(list(pool.pending), timeout=1)
        for reference in ready:
            for outcome in pool.land(reference):
                assert isinstance(outcome, Checked | WorkFailed) and outcome.candidate_id is not None
                candidate_id = outcome.candidate_id
                assert candidate_id not in ended
                failures[candidate_id] += isinstance(outcome, WorkFailed)
                if isinstance(outcome, WorkFailed) and outcome.retryable and failures[candidate_id] < attempts:
                    waiting.append(works[candidate_id - 1])
                else:
                    ended[candidate_id] = outcome
    return ended


def pool_of(size: int, gate: Gate) -> "CheckPool":
    from automcu.actors.pool import CheckPool

    return CheckPool(partial(_gate, gate), size)


def _gate(gate: Gate) -> Gate:
    return gate


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pool") / "log"


@pytest.fixture(scope="module")
def pool(ray_cluster: None, log: Path) -> "CheckPool":
    return pool_of(2, Gate(log))


def test_many_checks_take_few_calls_and_never_more_than_one_an_actor(pool: "CheckPool") -> None:
    from automcu.actors.pool import CHECKS_PER_ACTOR, CHECKS_PER_CALL

    works = checks([str(number) for number in range(pool.room)])
    assert len(works) == 2 * CHECKS_PER_ACTOR
    for work in works:
        pool.submit(work)
    calls = 0
    pool.start()
    while pool.pending:
        assert len(pool.pending) <= 2
        (reference, *_) = pool.pending
        calls += 1
        assert 0 < len(pool.land(reference)) <= CHECKS_PER_CALL
        pool.start()
    assert calls == len(works) / CHECKS_PER_CALL
    assert pool.room == len(works)


def test_only_what_passes_the_screening_goes_to_the_vendors_tool_once_each(pool: "CheckPool", log: Path) -> None:
    texts = [f"{number} {'vendor' if number % 3 == 0 else 'plain'}" for number in range(300)]
    log.write_text("")
    ended = work_off(pool, checks(texts))
    assert all(isinstance(end, Checked) for end in ended.values())
    looked = Counter(line.split(" ", 1)[1] for line in log.read_text().splitlines())
    assert looked == Counter(
        [f"screen {text}" for text in texts] + [f"check {text}" for text in texts if "vendor" in text]
    )


def test_a_failure_of_the_infrastructure_touches_no_other_check_of_its_batch(pool: "CheckPool") -> None:
    ended = work_off(pool, checks(["a", "flaky", "b"]))
    assert [isinstance(ended[number], Checked) for number in (1, 2, 3)] == [True, False, True]


def test_actors_that_are_killed_in_mid_batch_come_back(tmp_path: Path) -> None:
    import ray

    pool = pool_of(1, Gate(tmp_path / "log", seconds=0.02))
    works = checks([str(number) for number in range(40)])
    for work in works:
        pool.submit(work)
    pool.start()
    while not (tmp_path / "log").exists() or (tmp_path / "log").read_text().count("\n") < 10:
        time.sleep(0.01)
    ray.kill(pool.actors[0], no_restart=False)
    ended = work_off(pool, works, begun=len(works))
    assert sorted(ended) == list(range(1, 41)) and all(isinstance(end, Checked) for end in ended.values())
    assert len({line.split()[0] for line in (tmp_path / "log").read_text().splitlines()}) == 2


@pytest.mark.slow
def test_a_candidate_that_kills_every_actor_takes_no_other_with_it(tmp_path: Path) -> None:
    texts = [str(number) for number in range(40)] + ["1 vendor", "2 vendor"]
    texts[7], texts[20] = "kill", "crash vendor"
    ended = work_off(pool_of(2, Gate(tmp_path / "log")), checks(texts))
    failed = {number: end for number, end in ended.items() if isinstance(end, WorkFailed)}
    assert sorted(failed) == [8, 21] and all(end.retryable for end in failed.values())
    assert all("process died" in end.message for end in failed.values())
