"""Does a finding help? The same question, with the findings and with a neutral message in their place.

    python -m experiments.agents.feedback [--methods ...] [--seeds 40] [--out FOLDER]

For each seed, the first `SHOWN` random networks for CIFAR-10 that do not fit the board, by at most `NEAR` of a limit,
are shown to a proposer, which is then asked once. What it proposes is judged. Rows go to
`feedback.parquet`, as those of `measure`.
"""

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from automcu.architecture import Candidate
from automcu.finished import Rejected
from automcu.proposers.history import excess
from automcu.work import Propose
from experiments.agents.measure import HERE, append, read
from experiments.agents.problems import Problem, problem
from experiments.agents.runs import Method, Row, ask, judge, proposer_of, rows_of

SHOWN = 3
NEAR = 0.5
ASKED = {"llm:edit": 4, "llm:architecture": 1}
"""How many proposals are asked for: whole ones take a small model long."""
METHODS = tuple(
    Method(proposer, model, told)
    for model in ("obedient", "chance", "local")
    for proposer in ASKED
    for told in (True, False)
    if (proposer, model) != ("llm:architecture", "chance")
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask what has not been asked yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--methods", nargs="*", default=[], help="such as 'llm:edit local untold'; all if none is given"
    )
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--out", type=Path, default=HERE)
    asked = parser.parse_args(arguments)
    path = asked.out / "feedback.parquet"
    done = {(row["method"], row["seed"]) for row in read(path)}
    for seed in range(asked.seeds):
        for method in METHODS:
            if (str(method), seed) not in done and (not asked.methods or str(method) in asked.methods):
                began = time.monotonic()
                append(path, once(method, problem("cifar10", seed, asked.out), seed))
                print(f"{method} {seed}: {time.monotonic() - began:.1f} s", flush=True)


def once(method: Method, asked: Problem, seed: int) -> list[Row]:
    """What a proposer proposes after it was shown `SHOWN` networks that do not fit."""
    proposer, watched = proposer_of(method, asked, seed)
    shown = tuple(islice(near_misses(asked, random.Random(1_000 + seed)), SHOWN))
    outcomes, took = ask(proposer, Propose(ASKED[method.proposer], shown), watched)
    blank = Row("feedback", str(method), seed, 0, 1, "", False, False, SHOWN, "", "", **took)
    rows = rows_of(outcomes, blank, {end.candidate.architecture.text for end in shown})
    for step, row in enumerate(rows, 1):
        row.step = step
        if row.valid:
            judge(row, asked)
    return rows


def near_misses(asked: Problem, rng: random.Random) -> Iterator[Rejected]:
    """Random networks that just do not fit, as a search would tell of them."""
    number = 0
    while True:
        architecture = asked.space.random(rng)
        verdict = asked.gate.check(architecture)
        if 0 < excess(verdict.violations) <= NEAR:
            number += 1
            yield Rejected(Candidate(number, architecture, "random"), verdict.report, verdict.violations)


if __name__ == "__main__":
    main()
