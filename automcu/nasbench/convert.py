"""From the benchmark's own files to the Parquet that `automcu.nasbench.table` reads."""

from pathlib import Path

from automcu.child import Child, Frame
from automcu.errors import CandidateFailure, DataError, OutputError
from automcu.nasbench.table import load_tables

_TIME_LIMIT_S = 7_200.0


def convert(source: Path, target: Path) -> int:
    """Write the table of `source` to `target`; returns the number of cells.

    `source` is a folder `NATS-tss-v1_0-3ffb9-simple`, a file `NATS-tss-v1_0-3ffb9.pickle.pbz2`, or a file
    `NAS-Bench-201-v1_1-096897.pth`. It is read in a process of its own, since it holds pickles. Raises `DataError` when
    it is none of these or lacks a cell, `OutputError` when `target` cannot be written, `InfraFailure` when the process
    dies.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not source.exists():
        raise DataError(f"there is no {source}; give the folder or file of NATS-Bench or NAS-Bench-201")
    child = Child("automcu.nasbench.convert_worker", {})
    try:
        read = child.ask(Frame({"path": str(source.absolute())}, {}), _TIME_LIMIT_S)
    except CandidateFailure as error:
        raise DataError(f"{source} cannot be read: {error}; give the folder or file as it was published") from None
    finally:
        child.close()
    cells = read.header["cells"]
    assert isinstance(cells, list)
    columns = {
        name: array if array.ndim == 1 else [row[np.isfinite(row)].tolist() for row in array]
        for name, array in sorted(read.arrays.items())
    }
    table = pa.table({"arch_str": cells, **columns})
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, part, compression="zstd")
        load_tables(part)  # whole, and nothing but cells and accuracies
        part.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write {target} ({error.strerror}); choose another place") from error
    finally:
        part.unlink(missing_ok=True)
    return len(cells)
