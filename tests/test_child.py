import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from automcu.child import Child, Frame, read_frame, write_frame
from automcu.errors import CandidateFailure, InfraFailure
from tests.processes import alive, gone_within

MODULE = "tests.echo_child"


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child(MODULE, {})
    yield child
    child.close()


def ask(child: Child, do: str, time_limit_s: float = 20) -> Frame:
    return child.ask(Frame({"do": do}, {}), time_limit_s)


json_values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists)
tensors = st.sampled_from([np.uint8, np.int8, np.float32]).flatmap(
    lambda dtype: arrays(
        dtype, array_shapes(min_dims=0, min_side=0), elements={"allow_nan": False} if dtype is np.float32 else {}
    )
)


@settings(max_examples=30)
@given(st.dictionaries(st.text(), json_values), st.dictionaries(st.text(min_size=1), tensors, max_size=3))
def test_a_frame_survives_the_pipe(header: dict[str, object], content: dict[str, np.ndarray]) -> None:
    stream = io.BytesIO()
    content.pop("__metadata__", None)  # the one name that safetensors keeps for itself
    write_frame(stream, Frame(header, content))
    stream.seek(0)
    frame = read_frame(stream)
    assert frame is not None and frame.header == header and set(frame.arrays) == set(content)
    for name, array in content.items():
        assert frame.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(frame.arrays[name], array)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_frame_end_the_stream_or_raise_a_typed_error(rubbish: bytes) -> None:
    try:
        frame = read_frame(io.BytesIO(rubbish))
    except InfraFailure:
        return
    assert frame is None or isinstance(frame.header, object)


def test_a_frame_cut_short_is_the_end_of_the_stream() -> None:
    stream = io.BytesIO()
    write_frame(stream, Frame({"a": 1}, {"x": np.arange(100, dtype=np.float32)}))
    whole = stream.getvalue()
    for length in (0, 5, 12, 15, len(whole) - 1):
        assert read_frame(io.BytesIO(whole[:length])) is None


def test_a_child_answers_again_and_again_whatever_it_prints(child: Child) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)  # more than a pipe holds
    for number in range(3):
        answer = child.ask(Frame({"number": number}, {"images": images[:, ::2]}), 20)
        assert answer.header == {"number": number}
        np.testing.assert_array_equal(answer.arrays["images"], images[:, ::2])
    assert "noise on standard output" in child.last_words(2) and "noise on standard error" in child.last_words(2)


def test_failures_keep_their_kind_and_leave_the_child_working(child: Child) -> None:
    with pytest.raises(CandidateFailure, match="the candidate is bad; change it"):
        ask(child, "candidate")
    with pytest.raises(InfraFailure, match="the disk is full; free some"):
        ask(child, "infrastructure")
    with pytest.raises(CandidateFailure, match="RuntimeError: line one line two"):
        ask(child, "unknown")
    with pytest.raises(InfraFailure, match="MemoryError"):
        ask(child, "memory")
    assert ask(child, "echo").header == {"do": "echo"}


def test_a_child_that_takes_too_long_is_killed_with_all_it_started(child: Child) -> None:
    grandchild = ask(child, "fork").header["grandchild"]
    assert isinstance(grandchild, int)
    with pytest.raises(InfraFailure, match="took longer than 0 s and was killed; raise its time limit"):
        ask(child, "sleep", time_limit_s=0.3)
    assert child.returncode == -signal.SIGKILL and not child.crashed and gone_within(grandchild, 5)


def test_a_child_that_aborts_leaves_its_last_words(child: Child) -> None:
    with pytest.raises(InfraFailure, match=r"status -6 .*this graph is bad"):
        ask(child, "abort")
    assert child.crashed
    with pytest.raises(InfraFailure):
        ask(child, "echo")


def test_a_child_killed_in_the_middle_of_a_request_is_an_infrastructure_failure(child: Child) -> None:
    threading.Timer(0.5, os.kill, (child.pid, signal.SIGKILL)).start()
    with pytest.raises(InfraFailure, match="status -9"):
        ask(child, "sleep")


def test_a_module_that_does_not_start_says_why() -> None:
    child = Child("tests.no_such_module", {})
    with pytest.raises(InfraFailure, match="No module named"):
        child.ask(Frame({}, {"x": np.zeros(2**20, np.uint8)}), 20)


def test_a_process_that_cannot_be_started_is_an_infrastructure_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(InfraFailure, match=f"{MODULE} cannot be started .*run again"):
        Child(MODULE, {})


def test_a_child_dies_with_its_object() -> None:
    child = Child(MODULE, {})
    pid = child.pid
    del child
    assert gone_within(pid, 5)


PARENT = """
import os, sys, threading
from automcu.child import Child, Frame
child = Child("tests.echo_child", {})
child.ask(Frame({}, {}), 20)
print(child.pid, flush=True)
if sys.argv[1] == "busy":
    threading.Thread(target=child.ask, args=(Frame({"do": "sleep"}, {}), 60), daemon=True).start()
if sys.argv[1] == "sibling" and os.fork() == 0:  # holds the pipe to the child open
    import time; time.sleep(8)
    os._exit(0)
if sys.argv[1] == "leaves":
    sys.exit()
sys.stdin.read()
"""


@pytest.mark.parametrize("state", ["idle", "busy", "leaves", "sibling"])
def test_a_child_dies_with_its_parent(state: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, state], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert parent.stdout is not None and parent.stdin is not None
    pid = int(parent.stdout.readline())
    if state != "leaves":
        assert alive(pid)
        time.sleep(0.3)
        parent.kill()
    parent.wait()
    assert gone_within(pid, 5)
    parent.stdin.close()
    parent.stdout.close()
