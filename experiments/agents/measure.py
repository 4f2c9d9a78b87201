"""Do the agents' proposals work? Runs methods on problems and records a row for each proposal.

    python -m experiments.agents.measure PROBLEM... [--methods ...] [--seeds 10] [--data FOLDER] [--out FOLDER]

A problem is one of `experiments.agents.problems.KINDS`. Rows go to `PROBLEM.parquet` after each run; a run that is in
there already is not done again.
"""

import argparse
import fcntl
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from experiments.agents.problems import KINDS, problem
from experiments.agents.runs import Method, Row, run

HERE = Path(__file__).parent
CODE = (Method("random"), Method("evolution"))
POLICIES = (
    *(Method("llm:edit", model) for model in ("obedient", "first", "chance", "rubbish")),
    *(Method("llm:architecture", model) for model in ("first", "rubbish")),
    *(Method("hybrid:edit", model) for model in ("chance", "rubbish")),
)
OBEDIENT = Method("llm:architecture", "obedient")
LOCAL = (Method("llm:edit", "local"), Method("hybrid:edit", "local"))
WHOLE = Method("llm:architecture", "local")
METHODS = {
    "digits": (*CODE, *POLICIES, OBEDIENT),
    "cifar10": (*CODE, *POLICIES, OBEDIENT, *LOCAL, WHOLE),
    "digits_trained": (*CODE, Method("llm:edit", "chance"), *LOCAL),
    "nasbench201": (*CODE, *POLICIES, *LOCAL, WHOLE),
}

_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
SCHEMA = pa.schema(
    [
        (name, next(_TYPES[kind] for kind in _TYPES if kind in (hint, *get_args(hint))))
        for name, hint in get_type_hints(Row).items()
    ]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("problems", nargs="+", choices=list(KINDS))
    parser.add_argument(
        "--methods", nargs="*", default=[], help="such as 'llm:edit local'; all of the problem's if none"
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("AUTOMCU_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, default=HERE)
    asked = parser.parse_args(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    for name in asked.problems:
        methods = [method for method in METHODS[name] if not asked.methods or str(method) in asked.methods]
        path = asked.out / f"{name}.parquet"
        done = {(row["method"], row["seed"]) for row in read(path)}
        for seed in range(asked.seeds):
            for method in methods:
                if (str(method), seed) not in done:
                    began = time.monotonic()
                    new = run(method, problem(name, seed, asked.data), seed)
                    append(path, new)
                    print(f"{name} {method} {seed}: {len(new)} rows, {time.monotonic() - began:.1f} s", flush=True)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows that were recorded so far."""
    return pq.read_table(path).to_pylist() if path.exists() else []


def append(path: Path, new: Sequence[Row]) -> None:
    """Record a run; several processes may. The file is replaced in one step, so that a run that is interrupted loses
    itself alone."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        rows = [*read(path), *(asdict(row) for row in new)]
        unfinished = path.with_suffix(".part")
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), unfinished, compression="zstd")
        unfinished.replace(path)
    finally:
        os.close(folder)


if __name__ == "__main__":
    main()
