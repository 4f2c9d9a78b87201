"""A user's own int8 .tflite file, deployed: built, run on a board, compared byte for byte, and bundled."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from automcu.board import Board, Budget
from automcu.deploy.deployer import Deployed, Deployer, bundle_files
from automcu.deploy.prover import Prover
from automcu.errors import DataError
from automcu.export.interpreter import accuracy
from automcu.feasibility.planner_tier import PlannerTier
from automcu.graph.int8 import Int8Graph
from automcu.graph.kernel_sets import kernel_set_for
from automcu.graph.tflite.reader import read_tflite
from automcu.results import FeasibilityReport

ARRAY_LIMIT_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True, eq=False)
class OwnModel:
    """What came of it: the planner's report, the run on the board, int8 accuracy where labels were given, and the files
    of the bundle."""

    report: FeasibilityReport
    deployed: Deployed
    accuracy: float | None
    files: Mapping[str, bytes]


def deploy_model(
    tflite: bytes, name: str, board: Board, prover: Prover, inputs: np.ndarray, labels: np.ndarray | None
) -> OwnModel:
    """Deploy the network in `tflite`, a file called `name`, to `board` and run it on `inputs` (uint8, a row of bytes a
    sample). `labels`, which `require_classes` has accepted, are compared with the place of the first largest output.

    Raises `CandidateFailure` as `Deployer.run` does, `ImageTooLarge` among them.
    """
    graph = read_tflite(tflite)
    report = PlannerTier(kernel_set_for(board.core)).report(graph, lambda: Path(name))
    budget = Budget(board.ram_bytes, board.flash_bytes, None).on(board)
    deployer = Deployer(board, prover)
    deployed = deployer.run(tflite, inputs, labels, budget)
    evidence = deployer.evidence(deployed, report, budget, {"automcu": version("automcu"), "model": name}, design=None)
    dtype = graph.tensors[graph.outputs[0]].dtype
    share = None if labels is None else accuracy(deployed.samples.outputs.view(dtype), labels)
    return OwnModel(report, deployed, share, bundle_files(evidence, deployed, tflite, {}))


def require_classes(labels: np.ndarray, graph: Int8Graph, count: int) -> None:
    """Raise `DataError` unless `labels` are a class of the network of `graph` for each of `count` inputs."""
    if len(graph.outputs) != 1:
        raise DataError("labels are for networks with one output; leave --labels out")
    output = graph.tensors[graph.outputs[0]]
    classes = math.prod(output.shape)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"labels of type {labels.dtype} and shape {labels.shape} do not suit {count} inputs; give one whole number "
            "for each, the class"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"labels from {labels.min()} to {labels.max()} are no classes; give 0 to {classes - 1}")


def read_array(path: Path) -> np.ndarray:
    """The array in a `.npy` file. Raises `DataError` when there is none."""
    try:
        if not path.is_file():  # reading a pipe would wait for its other end
            raise DataError(f"{path} is no file; give a .npy file")
        if path.stat().st_size > ARRAY_LIMIT_BYTES:
            raise DataError(f"{path} has over {ARRAY_LIMIT_BYTES:,} bytes; give fewer samples")
        array = np.load(path, allow_pickle=False)
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror or 'no array'}); give a .npy file") from error
    except Exception as error:  # numpy answers damaged headers with errors of many kinds, TokenError among them
        raise DataError(f"{path} holds no plain array; save one with numpy.save") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path} holds several arrays; give a .npy file of one array")
    return array
