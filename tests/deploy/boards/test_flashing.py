"""Flashing with fake tools, for each of the real ones: they succeed, fail, lie, hang, crash and flood."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from automcu.board_table import load_board, load_boards
from automcu.deploy.boards.flashing.device_id import device_id
from automcu.deploy.boards.flashing.flasher import find_flasher
from automcu.deploy.boards.flashing.pyocd import target_name
from automcu.deploy.boards.link import BoardUnavailable, FlashFailed
from automcu.deploy.toolchain.toolchain import Image
from automcu.errors import AutoMCUError, ConfigError
from tests.deploy.boards.flash_tools import TOOLS, Bench

BOARD = load_board("nucleo_f446re")
IMAGE = Image(b"", b"\x01\x02\x03", 0x0800_0000, 3, 0, 0, {}, "test")
PROBE = "066DFF485550755187121723"
NAMES = list(TOOLS)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """After each test nothing of a tool may be left: neither a process nor a temporary file."""
    made = Bench(tmp_path)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("PATH", str(made.bin))
    monkeypatch.setenv("SECRET_API_KEY", "x")
    yield made
    assert made.left_behind() == []
    assert list((tmp_path / "tmp").iterdir()) == []


def flash(name: str, time_limit_seconds: float = 20.0, probe: str | None = None) -> None:
    find_flasher(BOARD, name, time_limit_seconds).flash(BOARD, IMAGE, probe)


@pytest.mark.parametrize("name", NAMES)
def test_success(bench: Bench, name: str) -> None:
    bench.install(name)
    flash(name, probe=PROBE)
    assert {run["firmware"] for run in bench.runs} == {"010203"}
    assert all("SECRET_API_KEY" not in str(run["environment"]) and run["stdin"] == "" for run in bench.runs)
    identify, *write = [str(run["arguments"]) for run in bench.runs]
    assert "firmware.bin" not in identify and "0x08000000" in write[0] and "firmware.bin" in write[0]
    assert PROBE in write[0]


@pytest.mark.parametrize("name", NAMES)
def test_no_probe(bench: Bench, name: str) -> None:
    texts = TOOLS[name]
    bench.install(name, identify=f"print({texts.no_probe!r}); sys.exit({texts.no_probe_status})")
    with pytest.raises(BoardUnavailable, match="connect the board by its ST-LINK connector"):
        flash(name)
    assert len(bench.runs) == 1  # nothing was written


@pytest.mark.parametrize("name", NAMES)
def test_wrong_part(bench: Bench, name: str) -> None:
    bench.install(name, identify=f"print({TOOLS[name].identified.format(id=0x433)!r})")
    with pytest.raises(BoardUnavailable, match="has device ID 0x433, a STM32F446RET6 has 0x421; wire up"):
        flash(name)
    assert len(bench.runs) == 1


IDENTIFY = {
    "nothing printed": ("pass", "it printed no device ID"),
    "garbage": ("os.write(1, os.urandom(5_000))", "printed no device ID"),
    "garbage, and a failure": ("os.write(1, os.urandom(5_000)); sys.exit(1)", "status 1"),
    "a flood": ("while True: print('x' * 10_000)", "printed more than"),
    "a hang, with a child": ("child(); time.sleep(60)", "did not end within 0.3 s"),
    "a crash": ("os.kill(os.getpid(), 11)", "status -11"),
    "a bare failure": ("sys.exit(3)", "status 3, nothing printed"),
}


@pytest.mark.parametrize("case", IDENTIFY)
def test_a_part_that_cannot_be_asked_is_not_written(bench: Bench, case: str) -> None:
    behaviour, reason = IDENTIFY[case]
    bench.install("openocd", identify=behaviour)
    began = time.monotonic()
    with pytest.raises(BoardUnavailable, match=reason) as caught:
        flash("openocd", 0.3 if "hang" in case else 20.0)
    assert len(bench.runs) == 1 and time.monotonic() - began < 10
    assert len(str(caught.value)) < 500 and str(caught.value).isprintable()


WRITE = {
    "nothing printed": ("pass", "did not say that what it wrote is right"),
    "garbage": ("os.write(1, os.urandom(5_000))", "did not say"),
    "a flood": ("while True: print('x' * 10_000)", "printed more than"),
    "a hang, with a child": ("print('** Verified OK **', flush=True); child(); time.sleep(60)", "did not end"),
    "a crash": ("os.kill(os.getpid(), 11)", "status -11"),
}


@pytest.mark.parametrize("case", WRITE)
def test_a_write_that_goes_wrong_is_not_repeated(bench: Bench, case: str) -> None:
    behaviour, reason = WRITE[case]
    bench.install("openocd", write=behaviour)
    with pytest.raises(FlashFailed, match=reason) as caught:
        flash("openocd", 0.3 if "hang" in case else 20.0)
    assert len(bench.runs) == 2 and str(caught.value).endswith("then deploy anew")


@pytest.mark.parametrize("name", NAMES)
def test_a_success_in_words_does_not_excuse_a_failure(bench: Bench, name: str) -> None:
    bench.install(name, write=f"print({TOOLS[name].written!r}); sys.exit(1)")
    with pytest.raises(FlashFailed, match="status 1"):
        flash(name)


DISCONNECTED = {
    "stm32_programmer_cli": "Error: failed to download Segment[0]\nError: failed to download the File\n",
    "openocd": "** Programming Started **\nError: jtag status contains invalid mode value - communication failure\n"
    "** Programming Failed **\nshutdown command invoked\n",
    "pyocd": "0009121 C ST-Link error (9): Unknown error [__main__]\n",
    "st-flash": "2026-04-19T15:42:24 ERROR common.c: Flash memory is write protected\nstlink_fwrite_flash() == -1\n",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("status", [0, 1])
def test_a_failure_in_words_counts_whatever_the_status(bench: Bench, name: str, status: int) -> None:
    """A probe that is pulled out in the middle, or a part that is protected."""
    said = DISCONNECTED[name] + TOOLS[name].written
    bench.install(name, write=f"print({said!r}); sys.exit({status})")
    with pytest.raises(FlashFailed, match="failed to write the image"):
        flash(name)
    assert len(bench.runs) == 2


def test_what_differs_when_it_is_read_back_is_a_failure(bench: Bench) -> None:
    differs = "Mismatched byte at 0x08000002 (offset 0x2): 0x04 (memory) != 0x03 (file)"
    bench.install("pyocd", write=f"print({differs!r} if 'compare' in text else 'Loading')")
    with pytest.raises(FlashFailed, match="Mismatched byte at 0x08000002"):
        flash("pyocd")


@pytest.mark.parametrize(
    "name, said, remedy",
    [
        ("pyocd", "0000180 C Target type stm32f446retx not recognized. Use 'pyocd list'. [__main__]", "pack install"),
        (
            "openocd",
            "embedded:startup.tcl:28: Error: Can't find board/st_nucleo_f4.cfg",
            "whose scripts have that file",
        ),
        ("openocd", "Error: init mode failed (unable to connect to the target)", "has power"),
        ("openocd", "Warn : UNEXPECTED idcode: 0x1ba01477\nError: expected 1 of 1: 0x2ba01477", "wire up the board"),
        ("stm32_programmer_cli", "Error: ST-LINK error (DEV_USB_COMM_ERR)", "close other programs"),
        ("stm32_programmer_cli", "Error: Unable to get core ID\nError: No STM32 target found!", "has power"),
    ],
)
def test_known_failures_have_their_remedy(bench: Bench, name: str, said: str, remedy: str) -> None:
    bench.install(name, identify=f"print({said!r}); sys.exit(1)")
    with pytest.raises(BoardUnavailable, match=remedy):
        flash(name)


def test_one_of_several_probes(bench: Bench) -> None:
    one = TOOLS["st-flash"].identified.format(id=0x433).partition("\n")[2]
    other = TOOLS["st-flash"].identified.format(id=0x421).partition("\n")[2].replace(PROBE, "0673FF3235304E5043")
    bench.install("st-flash", identify=f"print({'Found 2 stlink programmers' + chr(10) + one + other!r})")
    with pytest.raises(BoardUnavailable, match="give the serial number of its probe"):
        flash("st-flash")
    with pytest.raises(BoardUnavailable, match="device ID 0x433"):
        flash("st-flash", probe=PROBE)
    flash("st-flash", probe="0673ff3235304e5043")


@pytest.mark.parametrize("probe", ["", "a b", "x; exit", "x\ny", "[exec rm]", "$x", "a" * 65, "\u0660"])
def test_a_serial_number_is_no_command(bench: Bench, probe: str) -> None:
    bench.install("openocd")
    with pytest.raises(BoardUnavailable, match="no serial number"):
        flash("openocd", probe=probe)
    assert bench.runs == []


def test_the_first_tool_that_is_there(bench: Bench) -> None:
    with pytest.raises(BoardUnavailable, match="install one of: STM32_Programmer_CLI, openocd, pyocd, st-flash"):
        find_flasher(BOARD)
    for name in reversed(NAMES):
        bench.install(name)
        assert find_flasher(BOARD).name == name
    assert find_flasher(BOARD, "pyocd").name == "pyocd"
    (bench.bin / "pyocd").unlink()
    with pytest.raises(BoardUnavailable, match=r"install one of: pyocd$"):
        find_flasher(BOARD, "pyocd")
    with pytest.raises(ConfigError, match=r"jlink.*auto or one of: stm32_programmer_cli, openocd"):
        find_flasher(BOARD, "jlink")


def test_a_board_that_openocd_does_not_know(bench: Bench) -> None:
    board = replace(BOARD, openocd=None)
    bench.install("openocd")
    with pytest.raises(BoardUnavailable, match="choose another flashing tool"):
        find_flasher(board, "openocd")
    bench.install("pyocd")
    assert find_flasher(board).name == "pyocd"


@pytest.mark.parametrize("content, mode", [("#!/none\n", 0o755), ("\x7fELF rubbish", 0o755)])
def test_a_tool_that_cannot_be_started(bench: Bench, content: str, mode: int) -> None:
    program = bench.bin / "openocd"
    program.write_text(content)
    program.chmod(mode)
    with pytest.raises(BoardUnavailable, match="openocd cannot be started"):
        flash("openocd")


def test_no_room_for_the_image(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.install("openocd")
    monkeypatch.setattr(tempfile, "tempdir", str(bench.bin / "nowhere"))
    with pytest.raises(AutoMCUError, match="no temporary folder"):
        flash("openocd")
    assert bench.runs == []


def test_every_board_of_the_table_can_be_told_from_others() -> None:
    for board in load_boards():
        assert device_id(board) is not None, board.name


def test_pyocd_names_of_parts() -> None:
    names = {
        board: target_name(load_board(board))
        for board in ("nucleo_f446re", "nucleo_u575zi_q", "nucleo_l432kc", "b_l475e_iot01a")
    }
    assert names == {
        "nucleo_f446re": "stm32f446retx",
        "nucleo_u575zi_q": "stm32u575zitxq",
        "nucleo_l432kc": "stm32l432kc",
        "b_l475e_iot01a": "stm32l475xg",
    }


def test_every_tool_is_called_as_its_manual_says(bench: Bench) -> None:
    """The whole command lines, once each: an argument that is lost would be noticed by no fake."""
    called = {}
    for name in NAMES:
        bench.install(name)
        known = len(bench.runs)
        flash(name, probe=PROBE)
        called[name] = [" ".join(map(str, run["arguments"])) for run in bench.runs[known:]]  # type: ignore[call-overload]
    connect = f"-c port=SWD sn={PROBE} mode=UR reset=HWrst"
    servers = "-c gdb_port disabled -c tcl_port disabled -c telnet_port disabled"
    adapter = f"-f board/st_nucleo_f4.cfg -c adapter serial {PROBE} {servers}"
    target = f"--no-wait --no-config -t stm32f446retx -u {PROBE}"
    assert called == {
        "stm32_programmer_cli": [connect, f"{connect} -w firmware.bin 0x08000000 -v -rst"],
        "openocd": [
            f"{adapter} -c init -c reset halt -c mdw 0xe0042000 -c reset run -c shutdown",
            f"{adapter} -c program firmware.bin verify reset exit 0x08000000",
        ],
        "pyocd": [
            f"commander {target} -c read32 0xe0042000",
            f"load {target} --format bin -a 0x08000000 firmware.bin",
            f"commander {target} -c compare 0x08000000 firmware.bin -c reset",
        ],
        "st-flash": ["--probe", f"--reset --serial {PROBE} write firmware.bin 0x08000000"],
    }
