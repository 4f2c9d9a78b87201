"""How far a training has come, in one file: tensors as safetensors, the rest as JSON in the file's header.

Never pickle: a checkpoint may come from elsewhere, and reading it must not run anything.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from automcu.errors import InfraFailure


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, object]) -> None:
    """Replace the file at `path` in one step, so that whatever happens a whole one is there. Raises `InfraFailure`
    when it cannot be written."""
    from safetensors.torch import save

    data = save({name: tensor.contiguous() for name, tensor in tensors.items()}, {"facts": json.dumps(facts)})
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise InfraFailure(
            f"{path} cannot be written ({error}); free some disk space or choose another folder"
        ) from None


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, object]] | None:
    """Tensors and facts of the checkpoint at `path`, None where there is none or a broken one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None
    return (tensors, facts) if isinstance(facts, dict) else None
