"""The folder of one run. Only the driver writes it; what other processes make reaches it as bytes.

journal.jsonl              every event, see `automcu.journal`
run.json                   configuration, seed, versions: what it takes to run it again
candidates/ID/             weights.safetensors, model_int8.tflite of a trained candidate; in final/ those of the
                           final phase
checkpoints/               how far trainings have come that have not ended
candidates.parquet         a row per candidate
costs.parquet              a row per agent role, and one for the run
summary.md, pareto.png     the result for people
best/                      the bundle of the deployed network
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from automcu.errors import OutputError
from automcu.redaction import redacted, redacted_json


class RunFolder:
    """Files of one run below `path`. Every method raises `OutputError` when the disk refuses."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _refused(path, error) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from running here; however this one ends, the lock ends with it. Raises
        `OutputError` when another has it."""
        try:
            file = (self.path / ".lock").open("wb")
        except OSError as error:
            raise _refused(self.path, error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutputError(f"another process runs in {self.path}; wait for it, or end it first") from None
            except OSError:  # a file system without locks
                pass
            yield

    def write(self, name: str, content: bytes) -> Path:
        """Put a file in place as a whole: readers see the old content or the new, never a part. Returns its path.

        What looks like a key is taken out of texts first."""
        target = self.path / name
        match target.suffix:
            case ".json":
                content = redacted_json(content)
            case ".md" | ".txt":
                content = redacted(content.decode()).encode()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # the journal must not tell of a file that a power failure takes back
            os.chmod(file.name, 0o644)
            os.replace(file.name, target)
        except OSError as error:
            for left in target.parent.glob(f".{target.name}.*"):
                left.unlink(missing_ok=True)
            raise _refused(target, error) from error
        return target

    def remove(self, name: str) -> None:
        """Remove a file that may be there."""
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise _refused(self.path / name, error) from error

    def remove_folder(self, name: str) -> None:
        """Remove a folder that may be there, with all that is in it."""
        shutil.rmtree(self.path / name, ignore_errors=True)

    def read(self, name: str) -> bytes:
        """The content of a file that was written before."""
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise OutputError(
                f"cannot read {self.path / name} ({error.strerror}); leave the run folder alone while a run uses it"
            ) from error


def weights_name(candidate_id: int, final: bool = False) -> str:
    """Where a candidate's trained weights lie in the run folder, those of the search or of the final phase."""
    return f"candidates/{candidate_id:05d}/{'final/' * final}weights.safetensors"


def model_name(candidate_id: int, final: bool = False) -> str:
    """Where the int8 file of these weights lies."""
    return f"candidates/{candidate_id:05d}/{'final/' * final}model_int8.tflite"


def checkpoint_name(candidate_id: int, final: bool = False) -> str:
    """Where the checkpoint of a training that has not ended lies."""
    return f"checkpoints/{candidate_id:05d}{'_final' * final}.safetensors"


def _refused(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write {path} ({error.strerror}); free disk space or choose a writable run folder "
        "with hydra.run.dir=FOLDER"
    )
