"""QEMU: a fake one that speaks the protocol or behaves badly, and the real one where it is installed."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from automcu.board_table import load_board, load_boards
from automcu.deploy.boards.link import BoardDisconnected, BoardHung, BoardLink, BoardUnavailable, Statistics
from automcu.deploy.boards.qemu import QemuBoard, models
from automcu.deploy.emit.emitter import emit_network
from automcu.deploy.firmware.project import firmware_project
from automcu.deploy.toolchain.toolchain import Image
from automcu.deploy.toolchain.zig import ZigToolchain
from automcu.errors import InfraFailure
from automcu.export.interpreter import run_bytes
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.constants import read_model
from tests.contracts.board_link import BoardLinkContract, firmware
from tests.deploy.boards.test_protocol import answer
from tests.graph.shared_models import shared
from tests.processes import gone_within

BOARD = load_board("nucleo_f446re")
IMAGE = Image(b"an image", b"", 0x0800_0000, 0, 0, 0, {}, "test")
REAL = shutil.which("qemu-system-arm")
ROOT = Path(__file__).parents[3]

_SCRIPT = """#!{python}
import json, os, pathlib, socket, sys, time
with open({log!r}, "a") as file:
    file.write(json.dumps(dict(pid=os.getpid(), arguments=sys.argv[1:], environment=sorted(os.environ))) + "\\n")
def connect():
    line = socket.socket(socket.AF_UNIX)
    line.connect("uart")
    return line
{behaviour}
"""
WORKS = f"""
sys.path.insert(0, {str(ROOT)!r})
from tests.deploy.boards.test_protocol import Board
assert pathlib.Path("image.elf").read_bytes() == b"an image"
line = connect()
board = Board(line.sendall)
while data := line.recv(4096):
    for byte in data:
        board.receive(byte)
time.sleep(60)
"""


class Fake:
    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.program = folder / "bin" / "qemu-system-arm"
        self.program.parent.mkdir()

    def board(self, behaviour: str, limit_seconds: float = 5.0) -> QemuBoard:
        fill = {"python": sys.executable, "log": str(self.log), "behaviour": textwrap.dedent(behaviour)}
        self.program.write_text(_SCRIPT.format(**fill))
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)
        return QemuBoard(BOARD, limit_seconds)

    def runs(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """After each test nothing of QEMU may be left: neither a process nor a temporary file."""
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # a socket's path has 107 characters at the most
        monkeypatch.setattr(tempfile, "tempdir", short)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        monkeypatch.setenv("SECRET_API_KEY", "x")
        made = Fake(tmp_path)
        yield made
        assert [run["pid"] for run in made.runs() if not gone_within(int(str(run["pid"])))] == []
        assert os.listdir(short) == []


def test_it_runs_an_image_and_counts_instructions(fake: Fake) -> None:
    board: BoardLink = fake.board(WORKS)
    assert board.unit == "instructions" and board.name == "qemu"
    with board.open(IMAGE) as session:
        assert session.identify().input_bytes == 6
        inference = session.infer(b"abcdef")
        assert inference.outputs == answer(b"abcdef")
        assert inference.ticks == round(7 / 0.168)  # 7 ticks of SysTick at 168 MHz, 1 ns an instruction
        assert session.statistics() == Statistics(300, 2048, 99)
    (run,) = fake.runs()
    assert "SECRET_API_KEY" not in str(run["environment"])
    assert " ".join(map(str, run["arguments"])) == (  # type: ignore[call-overload]
        "-machine netduinoplus2 -nodefaults -display none -no-reboot -icount shift=0 -kernel image.elf "
        "-chardev socket,id=uart,path=uart -serial null -serial chardev:uart"
    )


BAD = {
    "a machine it does not have": (
        "print('qemu-system-arm: unsupported machine type'); sys.exit(1)",
        "does not start.*unsupported machine type",
    ),
    "nothing said": ("sys.exit(1)", "it printed nothing"),
    "rubbish": ("os.write(2, os.urandom(5000)); sys.exit(1)", "does not start"),
    "a flood": ("while True: os.write(2, b'x' * 100_000)", "does not start.*xxx"),
    "a crash": ("os.kill(os.getpid(), 11)", "does not start"),
}


@pytest.mark.parametrize("case", BAD)
def test_it_does_not_start(fake: Fake, case: str) -> None:
    behaviour, reason = BAD[case]
    with pytest.raises(BoardUnavailable, match=reason) as caught, fake.board(behaviour).open(IMAGE):
        raise AssertionError
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_it_never_connects(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automcu.deploy.boards.qemu._START_SECONDS", 0.2)
    with pytest.raises(BoardUnavailable, match="does not start"), fake.board("time.sleep(60)").open(IMAGE):
        raise AssertionError


def test_a_board_that_hangs(fake: Fake) -> None:
    with fake.board("line = connect(); time.sleep(60)", 0.05).open(IMAGE) as session:
        session._session._transport.write(bytes(1_000_000))  # type: ignore[attr-defined]  # more than the line holds
        with pytest.raises(BoardHung, match=r"within 0\.05 s"):
            session.identify()


def test_it_ends_in_the_middle(fake: Fake) -> None:
    for behaviour in ("line = connect(); line.recv(1)", "line = connect(); line.sendall(b'\\xa5i'); line.close()"):
        with fake.board(behaviour).open(IMAGE) as session, pytest.raises(BoardDisconnected, match="QEMU ended"):
            session.identify()


def test_garbage(fake: Fake) -> None:
    garbage = "line = connect()\nwhile True:\n    line.sendall(b'x' * 1000)\n"
    with fake.board(garbage, 0.1).open(IMAGE) as session, pytest.raises(BoardDisconnected, match="not the protocol"):
        session.identify()


def test_an_error_of_the_caller_ends_it(fake: Fake) -> None:
    with pytest.raises(ZeroDivisionError), fake.board("line = connect(); time.sleep(60)").open(IMAGE):
        raise ZeroDivisionError


def test_it_dies_with_the_process_that_started_it(fake: Fake) -> None:
    """Even when that one is killed, and can tidy up nothing."""
    fake.board("line = connect(); time.sleep(60)")
    code = f"""
        import sys, tempfile
        tempfile.tempdir = {tempfile.gettempdir()!r}
        from automcu.board_table import load_board
        from automcu.deploy.boards.qemu import QemuBoard
        from automcu.deploy.toolchain.toolchain import Image
        with QemuBoard(load_board("nucleo_f446re")).open(Image(b"", b"", 0, 0, 0, 0, {{}}, "")):
            print(tempfile.gettempdir(), flush=True)
            sys.stdin.read()
    """
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert owner.stdin is not None and owner.stdout is not None and owner.stdout.readline()
    (run,) = fake.runs()
    assert Path(f"/proc/{run['pid']}").exists()
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdin.close()
    owner.stdout.close()
    assert gone_within(int(str(run["pid"])))
    for left in Path(tempfile.gettempdir()).iterdir():  # the killed process could not
        shutil.rmtree(left)


def test_not_installed(fake: Fake) -> None:
    with pytest.raises(BoardUnavailable, match="install QEMU for Arm, or use the virtual board"):
        QemuBoard(BOARD)


def test_a_temporary_folder_too_deep_for_a_socket(fake: Fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(InfraFailure, match="short local path"), fake.board("pass").open(IMAGE):
        raise AssertionError


def test_the_boards_that_it_models() -> None:
    assert [board.name for board in load_boards() if models(board)] == [
        "nucleo_f401re",
        "nucleo_f411re",
        "nucleo_f446re",
    ]
    with pytest.raises(BoardUnavailable, match="no machine that stands for nucleo_g071rb"):
        QemuBoard(load_board("nucleo_g071rb"))


@pytest.mark.slow
@pytest.mark.skipif(REAL is None, reason="qemu-system-arm is not installed")
class TestTheRealOne(BoardLinkContract):
    @pytest.fixture
    def link_of(self) -> Callable[[float], BoardLink]:
        return lambda limit_seconds: QemuBoard(BOARD, limit_seconds)

    @pytest.fixture
    def image(self) -> Image:
        return ZigToolchain().build(firmware(BOARD))


@pytest.mark.skipif(REAL is None, reason="qemu-system-arm is not installed")
def test_the_real_one_agrees_with_tflite_micro() -> None:
    """Bit for bit; and a second run counts the same instructions, within the resolution of SysTick."""
    tflite = shared("st_models/st_mnist_v1_28_tfs_int8.tflite").read_bytes()
    model = read_model(tflite)
    plan = plan_memory(model.graph, kernels="portable")
    network = emit_network(model, plan, "portable", sha256(tflite).hexdigest())
    image = ZigToolchain().build(firmware_project(BOARD, network))
    samples = np.random.default_rng(0).integers(0, 256, (3, network.input_bytes), np.uint8)
    expected = run_bytes(tflite, samples, 1, 60)
    counts = []
    for _ in range(2):
        with QemuBoard(BOARD).open(image) as session:
            assert session.identify().network_sha256 == sha256(tflite).hexdigest()
            answers = [session.infer(sample.tobytes()) for sample in samples]
            assert session.statistics().stack_peak_bytes < session.statistics().stack_bytes
        assert [found.outputs for found in answers] == [wanted.tobytes() for wanted in expected]
        counts.append([found.ticks for found in answers])
    assert np.abs(np.diff(counts, axis=0)).max() <= 12
