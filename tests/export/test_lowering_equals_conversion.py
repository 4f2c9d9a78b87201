"""One int8 graph: lowering an architecture, and reading its converted file, give the same one; tflite-micro agrees on
its memory."""

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from automcu.architecture import Shape
from automcu.export.converter import Converter
from automcu.graph.costs import costs
from automcu.graph.lowering import lower
from automcu.graph.network import Network
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.reader import read_tflite
from automcu.spaces import make_space
from tests.export.small import convert_untrained

SHAPES: tuple[tuple[Shape, int], ...] = (((32, 32, 3), 10), ((8, 8, 1), 10), ((49, 10, 1), 12), ((28, 28, 1), 10))
_HEAD = """
import sys
from tflite_micro.python.tflite_micro import runtime
interpreter = runtime.Interpreter.from_bytes(open(sys.argv[1], "rb").read(), arena_size=32 << 20)
interpreter.print_allocations()
"""


def tflite_micro_head(tflite: bytes, folder: Path) -> int:
    """Bytes of tflite-micro's planned arena."""
    path = folder / "model.tflite"
    path.write_bytes(tflite)
    done = subprocess.run(
        [sys.executable, "-c", _HEAD, str(path)], capture_output=True, text=True, timeout=60, env=dict(os.environ)
    )
    found = re.search(r"Arena allocation head (\d+) bytes", done.stderr)
    assert found, done.stderr
    return int(found[1])


def random_networks(count: int) -> Iterator[Network]:
    rng = random.Random(20)
    for number in range(count):
        shape, classes = SHAPES[number % len(SHAPES)]
        space = make_space("mcu_cnn", shape, classes)
        yield space.build(space.random(rng))


def disagreements(converter: Converter, network: Network, folder: Path) -> list[str]:
    lowered = lower(network)
    tflite = convert_untrained(converter, network, seed=1)
    read = read_tflite(tflite)
    found = []
    if (lowered, lowered.fingerprint) != (read, read.fingerprint):
        found.append("graph")
    if plan_memory(lowered).arena_bytes != tflite_micro_head(tflite, folder):
        found.append("arena")
    if costs(lowered) != costs(read):
        found.append("costs")
    return found


def test_lowering_equals_reading_the_converted_file(converter: Converter, tmp_path: Path) -> None:
    assert [disagreements(converter, network, tmp_path) for network in random_networks(2)] == [[]] * 2


@pytest.mark.slow
def test_lowering_equals_reading_the_converted_file_for_many(converter: Converter, tmp_path: Path) -> None:
    assert [disagreements(converter, network, tmp_path) for network in random_networks(80)] == [[]] * 80
