"""Folders and model files that live no longer than a check."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from automcu.errors import InfraFailure
from automcu.graph.int8 import Int8Graph

_REMEDY = "free disk space or set TMPDIR"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty folder, gone at the end with all that is in it. Raises `InfraFailure` when none can be made."""
    try:
        folder = TemporaryDirectory(prefix="automcu-", ignore_cleanup_errors=True)
    except OSError as error:
        raise InfraFailure(f"no temporary folder can be made ({error.strerror}); {_REMEDY}") from error
    with folder as name:
        yield Path(name)


@contextmanager
def file_on_demand(make: Callable[[], bytes]) -> Iterator[Callable[[], Path]]:
    """A function that writes the bytes of `make` to a .tflite file at its first call; the file is gone at the end.

    That function raises `InfraFailure` when the file cannot be written, and what `make` raises.
    """
    with ExitStack() as stack:
        written: list[Path] = []

        def file() -> Path:
            if not written:
                content = make()
                path = stack.enter_context(temporary_folder()) / "model.tflite"
                try:
                    path.write_bytes(content)
                except OSError as error:
                    raise InfraFailure(f"no temporary file can be written ({error.strerror}); {_REMEDY}") from error
                written.append(path)
            return written[0]

        yield file


def untrained(graph: Int8Graph) -> bytes:
    """An int8 .tflite file of `graph` with random weights. Raises `CandidateFailure`, see `write_tflite`."""
    from automcu.graph.tflite.writer import write_tflite  # its schema package takes half a second to import

    return write_tflite(graph, seed=0)
