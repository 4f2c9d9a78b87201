"""When the board, its line or the toolchain fails in a run: the winner's bundle is still written where it is not the
network's fault, nothing is flashed twice, and the journal and all other candidates are what they would have been."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from automcu.agents.deploy import DeployAgent
from automcu.agents.evaluation import EvaluationAgent
from automcu.architecture import Task
from automcu.board import Budget
from automcu.board_table import load_board
from automcu.deploy.boards.emulator import Emulator
from automcu.deploy.boards.link import BoardDisconnected, BoardHung, BoardSession, BoardUnavailable, FlashFailed, Unit
from automcu.deploy.boards.protocol import ProtocolSession
from automcu.deploy.bundle import EVIDENCE, read_bundle
from automcu.deploy.deployer import Deployer, image_name
from automcu.deploy.evidence import read_evidence
from automcu.deploy.images import FirmwareOptions
from automcu.deploy.prover import Prover
from automcu.deploy.toolchain.objects import ObjectCache
from automcu.deploy.toolchain.toolchain import Image, Toolchain
from automcu.deploy.toolchain.zig import ZigToolchain
from automcu.evaluation import Measured
from automcu.executors.blueprint import RunEnd
from automcu.executors.inline import run_inline
from automcu.executors.steps import DeploymentRole, EvaluationRole
from automcu.finished import Deployed, Evaluated, Failed, Finished, Skipped
from automcu.journal import Ended, Header, read_journal
from automcu.run_folder import RunFolder
from automcu.search import Search
from automcu.training.data import TrainingData
from automcu.work import Evaluate
from tests.contracts.executor import HEADER, LIMITS, QuickEvaluator, blueprint
from tests.export.small import SMALL, SMALL_TFLITE, random_images

BOARD = load_board("nucleo_f446re")
BUDGET = Budget(64_000, 128_000, None)
TASK = Task("shapes", "shapes", SMALL.input_shape, 5, "Tell five shapes apart.")


class Evaluator(QuickEvaluator):
    """All candidates come to the same real file."""

    def evaluate(self, work: Evaluate, weights: bytes) -> Measured:
        evaluation = super().evaluate(work, weights).evaluation
        sha256 = hashlib.sha256(SMALL_TFLITE).hexdigest()
        return Measured(replace(evaluation, tflite_sha256=sha256), SMALL_TFLITE, weights)

    def test(self, work, weights, tflite):  # type: ignore[no-untyped-def]
        return super().test(work, weights, weights[:100])


class BadLine:
    """The line to a virtual board. What `act` gives for the bytes that come from it arrives."""

    def __init__(self, line: Emulator, act: Callable[[bytes], bytes]) -> None:
        self._line = line
        self._act = act

    def read(self, count: int, timeout_seconds: float) -> bytes:
        return self._act(self._line.read(count, timeout_seconds))

    def write(self, data: bytes) -> None:
        self._line.write(data)

    def close(self) -> None:
        self._line.close()


@dataclass
class FailingBoard:
    """A virtual board as a `BoardLink` that fails: when it is opened, by `flash`, or on its line, by `line`. `opened`
    counts how often an image was put on it."""

    flash: Callable[[], None] = lambda: None
    line: Callable[[bytes], bytes] = bytes
    name: str = "serial"
    unit: Unit = "cycles"
    opened: list[str] = field(default_factory=list)

    @contextmanager
    def open(self, image: Image) -> Iterator[BoardSession]:
        self.opened.append(hashlib.sha256(image.elf).hexdigest())
        self.flash()
        emulator = Emulator(BOARD, image, 20.0)
        try:
            yield ProtocolSession(BadLine(emulator, self.line), image.symbols, 20.0)
        finally:
            emulator.close()


def run(deployer: Deployer, folder: Path) -> RunEnd:
    """A whole run that deploys with `deployer`; its journal tells what it returned."""
    images, labels = random_images(SMALL, 3, 4), np.arange(4)
    data = TrainingData(images, labels, images, labels, tuple("01234"))
    made = replace(
        blueprint(),
        make_evaluation=lambda data, shared: EvaluationRole(Evaluator(), EvaluationAgent(None), BUDGET),  # type: ignore
        make_deployment=lambda data, shared: DeploymentRole(deployer, DeployAgent(None), data, TASK, BUDGET, {}, 2),
    )
    ended = run_inline(made, LIMITS, HEADER, RunFolder(folder), data, lambda: 0.0, lambda line: None)
    replayed = Search(LIMITS, lambda: 0.0)
    events = [entry.event for entry in read_journal(folder / "journal.jsonl")]
    replayed.replay(event for event in events if not isinstance(event, Header | Ended))
    assert replayed.finished == {number: end for number, end in ended.finished.items() if not isinstance(end, Skipped)}
    return ended


def kinds(finished: dict[int, Finished]) -> dict[int, str]:
    return {number: type(end).__name__ for number, end in finished.items()}


@pytest.fixture(scope="module")
def zig() -> ZigToolchain:
    return ZigToolchain()


@pytest.fixture(scope="module")
def usual(zig: ZigToolchain, tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """How all candidates end where nothing fails."""
    ended = run(deployer(zig, FailingBoard()), tmp_path_factory.mktemp("usual"))
    finished = ended.finished
    trouble = ended.trouble
    assert trouble is None
    (deployed,) = [end for end in finished.values() if isinstance(end, Deployed)]
    measured = deployed.deployment.measurement
    assert measured is not None and (measured.matching, measured.checked) == (2, 2)
    return kinds(dict(finished))


def deployer(toolchain: Toolchain, board: FailingBoard) -> Deployer:
    return Deployer(BOARD, Prover(BOARD, toolchain, board, FirmwareOptions()))


def unplugged() -> None:
    raise BoardUnavailable("no serial port of an ST-LINK is connected; connect the board by USB, or name its port")


def pulled_out_while_flashing() -> None:
    raise FlashFailed("openocd failed to write the image: unplugged; look at the board, then deploy anew")


def noise(data: bytes) -> bytes:
    return bytes(byte ^ 0x55 for byte in data)


def pulled_out(after_bytes: int) -> Callable[[bytes], bytes]:
    left = [after_bytes]

    def read(data: bytes) -> bytes:
        left[0] -= len(data)
        if left[0] < 0:
            raise BoardDisconnected("the board at /dev/ttyACM0 went away; check its cable and power, and deploy anew")
        return data

    return read


@pytest.mark.parametrize(
    ("board", "told"),
    [
        (FailingBoard(flash=unplugged), "no serial port of an ST-LINK"),
        (FailingBoard(flash=pulled_out_while_flashing), "failed to write the image"),
        (FailingBoard(line=noise), "not the protocol"),
        (FailingBoard(line=pulled_out(100)), "went away"),
    ],
)
def test_a_board_that_fails_leaves_the_winners_bundle_unverified(
    zig: ZigToolchain, usual: dict[int, str], board: FailingBoard, told: str, tmp_path: Path
) -> None:
    ended = run(deployer(zig, board), tmp_path)
    finished = ended.finished
    funnel = ended.funnel
    trouble = ended.trouble
    assert trouble is None and funnel.failed == 0 and kinds(dict(finished)) == usual
    (deployed,) = [end for end in finished.values() if isinstance(end, Deployed)]
    assert deployed.deployment.measurement is None and told in deployed.deployment.unverified
    assert len(board.opened) == 1  # never flashed again
    files = read_bundle(tmp_path / "best")
    evidence = read_evidence(files[EVIDENCE])
    assert evidence.unverified == deployed.deployment.unverified and evidence.firmware
    assert hashlib.sha256(files[image_name(BOARD)]).hexdigest() == board.opened[0]


@pytest.mark.parametrize("script", ["echo 'error: no space left on device'; exit 1", "kill -9 $$", "exit 127"])
def test_a_toolchain_that_fails_leaves_the_winners_bundle_with_the_model(
    usual: dict[int, str], script: str, tmp_path: Path
) -> None:
    program = tmp_path / "zig"
    program.write_text(f'#!/bin/sh\n[ "$1" = version ] && echo 0.0.0 && exit\n{script}\n')
    os.chmod(program, 0o755)
    board = FailingBoard()
    broken = ZigToolchain(program=(str(program),), objects=ObjectCache(tmp_path / "objects"))
    ended = run(deployer(broken, board), tmp_path / "run")
    finished = ended.finished
    funnel = ended.funnel
    trouble = ended.trouble
    assert trouble is None and funnel.failed == 0 and kinds(dict(finished)) == usual
    (deployed,) = [end for end in finished.values() if isinstance(end, Deployed)]
    assert "zig 0.0.0 ended with status" in deployed.deployment.unverified and not board.opened
    assert "pip install" in deployed.deployment.unverified
    assert not read_evidence(read_bundle(tmp_path / "run" / "best")[EVIDENCE]).firmware


@pytest.mark.parametrize("when", ["opened", "asked"])
def test_a_network_that_hangs_the_board_fails_and_the_next_best_is_deployed(
    zig: ZigToolchain, usual: dict[int, str], when: str, tmp_path: Path
) -> None:
    board = FailingBoard()

    def hang_first(data: bytes = b"") -> bytes:
        if len(board.opened) == 1:
            raise BoardHung("the firmware does not answer within 20 s; reset the board and report the network")
        return data

    if when == "opened":
        board.flash = hang_first  # type: ignore[assignment]
    else:
        board.line = hang_first
    ended = run(deployer(zig, board), tmp_path)
    finished = ended.finished
    funnel = ended.funnel
    trouble = ended.trouble
    assert trouble is None and funnel.deployed == 1 and funnel.failed == 1 and len(board.opened) == 2
    (failed,) = [end for end in finished.values() if isinstance(end, Failed)]
    assert (failed.stage, failed.cause) == ("deploy", "candidate") and "does not answer" in failed.message
    (deployed,) = [end for end in finished.values() if isinstance(end, Deployed)]
    assert deployed.deployment.measurement is not None
    changed = {number for number, kind in kinds(dict(finished)).items() if kind != usual[number]}
    assert changed == {failed.candidate.id, deployed.candidate.id}
    assert usual[failed.candidate.id] == "Deployed" and usual[deployed.candidate.id] == Evaluated.__name__
