"""What a bundle says of itself in `evidence.json`, typed: written by whoever makes it, read back by who verifies it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from automcu.architecture import Candidate, Task
from automcu.board import Board, Budget
from automcu.deploy.st.profile import StProfile
from automcu.errors import OutputError
from automcu.results import Evaluation, FeasibilityReport, Measurement, TestResult, TrialResult


@dataclass(frozen=True, slots=True)
class Digest:
    """Of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Design:
    """How AutoMCU came to the network. A bundle of a user's own model has none."""

    candidate: Candidate
    task: Task
    trial: TrialResult
    evaluation: Evaluation
    test: TestResult


@dataclass(frozen=True, slots=True)
class StCode:
    """The bundle's C code for ST's runtime: the version of ST Edge AI that wrote it, and what that tool says of its
    speed on the board, None where no board answered."""

    version: str
    profile: StProfile | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a bundle claims.

    `files` are all files of the bundle but `evidence.json`. `report` is what the network costs by the first tier that
    judged it, for `board` within `budget`. `interpreter` gave the expected outputs of the `samples` inputs. `firmware`
    says whether an image was built; `measurement` and `unverified` are as in `Deployment`. `provenance` tells the run,
    its seed and the versions of what made the files. `st` is there where ST's runtime is to run the network.
    """

    schema_version: Literal[2]
    files: Mapping[str, Digest]
    board: Board
    budget: Budget
    report: FeasibilityReport
    interpreter: str
    samples: int
    firmware: bool
    measurement: Measurement | None
    unverified: str
    design: Design | None
    provenance: Mapping[str, str]
    st: StCode | None = None

    def to_json(self) -> bytes:
        """The content of `evidence.json`."""
        return (json.dumps(asdict(self), indent=2, sort_keys=True) + "\n").encode()


_EVIDENCE = TypeAdapter(Evidence)


def read_evidence(content: bytes) -> Evidence:
    """The evidence in `evidence.json`. Raises `OutputError` when it is none."""
    try:
        return _EVIDENCE.validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise OutputError(
            f"evidence.json is damaged ({where:.80}: {first['msg'].lower():.120}); get the bundle again from its source"
        ) from None
