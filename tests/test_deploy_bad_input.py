"""Bad input for `automcu deploy`: exit code 2 and one sentence, before anything is built."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import ARCHITECTURE, BOARD, MODEL, ROOT, Capture, refused


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (b"'''", "no plain array"),
        (b"(" * 9_000, "no plain array"),
        (b"{'descr': '|i1', 'fortran_order': False, 'shape': (True,)}", "no plain array"),
        (b"{'descr': '|i1', 'fortran_order': False, 'shape': (%d,)}" % 2**80, "no plain array"),
        (b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "no plain array"),
    ],
)
def test_damaged_arrays(capsys: Capture, tmp_path: Path, header: bytes, told: str) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    assert told in refused(capsys, "deploy", MODEL, *BOARD, "--inputs", path)


def test_a_pipe_is_not_waited_for(capsys: Capture, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for option in ("--inputs", "--labels"):
        assert "is no file" in refused(capsys, "deploy", MODEL, *BOARD, option, tmp_path / "pipe")


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (np.arange(3), "and shape (3,)"),
        (np.zeros(2), "type float64"),
        (np.array(["a", "b"]), "type <U1"),
        (np.zeros(2, [("a", "i1")]), "do not suit"),
        (np.array([0, 100]), "from 0 to 100 are no classes; give 0 to 99"),
        (np.array([-1, 5]), "from -1 to 5 are no classes"),
    ],
)
def test_labels_that_are_no_classes(capsys: Capture, tmp_path: Path, labels: np.ndarray, told: str) -> None:
    path = saved(tmp_path / "y.npy", labels)
    assert told in refused(capsys, "deploy", MODEL, *BOARD, "--samples", "2", "--labels", path)


def test_what_cannot_be_carried_out_is_told_at_once(capsys: Capture, tmp_path: Path) -> None:
    assert "no .tflite file" in refused(capsys, "deploy", ARCHITECTURE, *BOARD)
    assert "choose another folder" in refused(capsys, "deploy", MODEL, *BOARD, "--out", tmp_path)
    assert "give fewer" in refused(capsys, "deploy", MODEL, *BOARD, "--samples", "999999999999")
    small = ("--board", "nucleo_g071rb", "--kernels", "dsp")
    assert "cortex-m0+ of nucleo_g071rb cannot run dsp kernels" in refused(capsys, "deploy", MODEL, *small)


def test_a_deployment_that_is_ended_leaves_no_temporary_folder(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "XDG_CACHE_HOME": str(tmp_path / "cold")}
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-m", "automcu.cli", "deploy", str(MODEL), *BOARD]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment
    ) as process:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "tmp").glob("automcu-*/*.c")):  # it compiles
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (out.count(b"\n"), err) == (1, b"")
    assert process.returncode == 130 and list((tmp_path / "tmp").iterdir()) == []
