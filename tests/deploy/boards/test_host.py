"""The firmware as a program of this host: a real network, and programs that misbehave."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from automcu.deploy.boards.host import HostBoard
from automcu.deploy.boards.link import BoardDisconnected, BoardFault, BoardHung, BoardUnavailable
from automcu.deploy.emit.emitter import emit_network
from automcu.deploy.firmware.project import firmware_project
from automcu.deploy.toolchain import host
from automcu.deploy.toolchain.host import HostToolchain
from automcu.deploy.toolchain.toolchain import Image, Project
from automcu.deploy.toolchain.zig import ZigToolchain
from automcu.errors import CandidateFailure, DataError, InfraFailure
from automcu.export.interpreter import run_bytes
from automcu.feasibility.temporary import untrained
from automcu.graph.lowering import lower
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.constants import read_model
from tests import builders
from tests.contracts import board_link
from tests.contracts.feasibility_tier import RESIDUAL
from tests.contracts.toolchain import project

TFLITE = untrained(lower(RESIDUAL))
QUICK = 0.1  # seconds, for programs that never answer
RUN = "void network_run(void)\n{"


def firmware(first: str = "") -> Project:
    """The firmware of a real network for a board; `first` is what an inference does first."""
    model = read_model(TFLITE)
    plan = plan_memory(model.graph, in_place_add=True, kernels="portable")
    network = emit_network(model, plan, "portable", hashlib.sha256(TFLITE).hexdigest())
    real = firmware_project(builders.board(reserved_ram_bytes=2_048), network)
    changed = real.sources["network.c"].replace(RUN, "#include <stdlib.h>\n" + RUN + first)
    return Project({**real.sources, "network.c": changed}, real.core)


def image(first: str = "") -> Image:
    return HostToolchain().build(firmware(first))


class TestTheContract(board_link.BoardLinkContract):
    @pytest.fixture
    def link_of(self):
        return HostBoard

    @pytest.fixture
    def image(self) -> Image:
        return HostToolchain().build(board_link.firmware(builders.board(reserved_ram_bytes=2_048)))


def pids_of(folder: Path) -> list[str]:
    """Processes whose program lies below `folder`."""
    running = []
    for process in Path("/proc").glob("[0-9]*/exe"):
        try:
            running += [process.parent.name] if folder in process.readlink().parents else []
        except OSError:
            continue
    return running


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield
    assert pids_of(tmp_path) == [] and list(tmp_path.iterdir()) == []


def test_a_network_gives_what_tflite_micro_gives() -> None:
    samples = np.random.default_rng(0).integers(0, 256, (8, 16 * 16 * 3), np.uint8)
    expected = run_bytes(TFLITE, samples, 1, 60.0)
    with HostBoard().open(image()) as session:
        told = session.identify()
        answers = [session.infer(sample.tobytes()) for sample in samples]
        statistics = session.statistics()
        with pytest.raises(DataError, match="768"):
            session.infer(bytes(767))
        assert session.infer(samples[0].tobytes()).outputs == answers[0].outputs
    assert told.network_sha256 == hashlib.sha256(TFLITE).hexdigest()
    assert (told.input_bytes, told.output_bytes, told.clock_hz) == (768, 4, 10**9)
    assert [answer.outputs for answer in answers] == [row.tobytes() for row in expected]
    assert len({answer.outputs for answer in answers}) > 1
    assert all(1_000 < answer.ticks < 10**9 for answer in answers)
    assert 0 < statistics.stack_peak_bytes < 8_192 < statistics.stack_bytes


def test_the_deepest_stack_is_measured() -> None:
    with HostBoard().open(image("volatile char deep[50000]; deep[0] = 1; deep[49999] = deep[0];")) as session:
        session.infer(bytes(768))
        assert 50_000 < session.statistics().stack_peak_bytes < 60_000


def test_a_program_that_dies_is_a_fault() -> None:
    dies = image("*(volatile int *)8 = 1;")
    with HostBoard(QUICK).open(dies) as session, pytest.raises(BoardFault, match=r"SIGSEGV.*; report it"):
        session.infer(bytes(768))


def test_a_program_that_ends_is_disconnected() -> None:
    with HostBoard(QUICK).open(image("exit(3);")) as session, pytest.raises(BoardDisconnected, match="status 3"):
        session.infer(bytes(768))


def test_a_program_that_hangs_is_killed() -> None:
    started = time.monotonic()
    with HostBoard(QUICK).open(image("for (volatile int x = 0;; x++) { }")) as session, pytest.raises(BoardHung):
        session.infer(bytes(768))
    assert time.monotonic() - started < 10.0


def test_an_image_for_a_part_is_refused() -> None:
    arm = ZigToolchain().build(project())
    with pytest.raises(BoardUnavailable, match=r"cannot be started on this host; build it with toolchain host"):
        HostBoard().open(arm).__enter__()


def test_sources_that_do_not_compile_are_the_candidates_failure() -> None:
    with pytest.raises(CandidateFailure, match=r"network\.c:\d+:\d+: error: .*undeclared"):
        image("return undeclared;")


def test_without_any_compiler_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(host, "ZIG", ("/bin/false",))
    with pytest.raises(InfraFailure, match="install a C compiler"):
        HostToolchain()


@pytest.mark.slow
def test_zig_stands_in_for_the_hosts_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sample = bytes(range(256)) * 3
    native = image()
    monkeypatch.setenv("PATH", str(tmp_path))
    toolchain = HostToolchain()
    assert "clang" in toolchain.version
    outputs = []
    for program in (native, toolchain.build(firmware())):
        with HostBoard().open(program) as session:
            outputs.append(session.infer(sample).outputs)
    assert outputs[0] == outputs[1]


@pytest.mark.slow
def test_no_program_outlives_who_started_it(tmp_path: Path) -> None:
    """Not even one that hangs, when the parent is killed."""
    script = (
        "from tests.deploy.boards.test_host import HostBoard, image\n"
        "with HostBoard(60.0).open(image('for (volatile int x = 0;; x++) { }')) as session:\n"
        "    print(session.identify().clock_hz, flush=True)\n"
        "    session.infer(bytes(768))\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    root = Path(__file__).parents[3]
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment, cwd=root) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == b"1000000000\n"
        time.sleep(0.3)
        assert len(pids_of(tmp_path)) == 1
        parent.kill()
    deadline = time.monotonic() + 5.0
    while pids_of(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert pids_of(tmp_path) == []
    for folder in tmp_path.iterdir():
        shutil.rmtree(folder)  # which the parent could not do
