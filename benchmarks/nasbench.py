"""How fast are searches on the table of NAS-Bench-201, in one process?

    python -m benchmarks.nasbench [--seeds 20] [--repeats 5]

Printed for each method of code alone: queries a second of processor time (median and range of the repeats), beside what
a lookup costs with no search at all; and how long reading the table takes, with the memory it needs. The table is in
`$AUTOMCU_DATA`, or where runs look for it.
"""

import argparse
import resource
import statistics
import time
from pathlib import Path

from automcu.errors import DataError
from automcu.nasbench.comparison import Piece, run_piece, tables_in
from automcu.nasbench.methods import FREE
from automcu.nasbench.table import FILE
from automcu.spaces.nasbench201 import cell_of
from automcu.training.data import data_roots

QUERIES = 100
SLOW = ("surrogate", "tpe")
"""A search of theirs takes about a second: one at a time is enough."""
EXAMPLE = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"


def table_file() -> Path:
    """Where the table lies. Raises `DataError` when it is nowhere."""
    found = next((root / FILE for root in data_roots(None) if (root / FILE).is_file()), None)
    if found is None:
        raise DataError(f"no {FILE} is where runs look for data; name its folder in $AUTOMCU_DATA")
    return found


def rate(method: str, path: Path, seeds: int, first: int) -> float:
    """Queries a second of searches on CIFAR-10."""
    began = time.process_time()
    rows = run_piece(Piece(method, "cifar10", first, seeds, QUERIES, 200, False), path)
    return len(rows) / (time.process_time() - began)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    path = table_file()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    table = tables_in(path)["cifar10"]
    seconds = time.perf_counter() - began
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e6
    print(f"reading the table: {seconds:.2f} s, {memory:.0f} MB at most, imports of pyarrow included")
    cell = cell_of(EXAMPLE)
    began = time.process_time()
    for _ in range(100_000):
        table.validation(cell)
    print(f"lookup alone: {100_000 / (time.process_time() - began):,.0f} a second")
    for method in FREE:
        seeds = 1 if method in SLOW else asked.seeds
        rate(method, path, 1, 0)  # imports, and cells that are seen for the first time
        rates = [rate(method, path, seeds, 1 + repeat * seeds) for repeat in range(asked.repeats)]
        print(
            f"{method}: {statistics.median(rates):,.0f} queries a second ({min(rates):,.0f} to {max(rates):,.0f}), "
            f"{asked.repeats} times {seeds} searches of {QUERIES}"
        )


if __name__ == "__main__":
    main()
