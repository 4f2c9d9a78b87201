"""The pieces of a comparison as Ray tasks."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import ray
from ray.exceptions import RayError

from automcu.errors import AutoMCUError, InfraFailure
from automcu.nasbench.comparison import Piece, run_piece


@ray.remote(num_cpus=1, max_retries=2)  # type: ignore[untyped-decorator]
def _run(piece: Piece, path: Path) -> pa.Table:
    return run_piece(piece, path)


def pieces_on_ray(pieces: Sequence[Piece], path: Path) -> Iterator[tuple[Piece, pa.Table]]:
    """The rows of each piece as they come, from the Ray cluster that this process is connected to. `path` is the
    table's, where every node sees it. Raises `InfraFailure` when a piece is lost again and again."""
    running = {_run.remote(piece, path): piece for piece in pieces}
    while running:
        (done,), _ = ray.wait(list(running), num_returns=1)
        try:
            rows = ray.get(done)
        except RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, AutoMCUError):
                raise cause from None
            raise InfraFailure(
                f"Ray lost a piece of the comparison ({str(error).splitlines()[0]:.150}); start it again, it goes on"
            ) from error
        yield running.pop(done), rows
