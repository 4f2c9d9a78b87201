import subprocess
import sys
from collections import Counter
from pathlib import Path

from automcu.graph.costs import costs
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.order import in_order
from automcu.graph.tflite.reader import read_tflite
from tests.graph.shared_models import shared, tflm_heads

_INVOKE = """
import sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime
image = np.random.default_rng(0).integers(-128, 128, (1, 32, 32, 3)).astype(np.int8)
for path in sys.argv[1:]:
    interpreter = runtime.Interpreter.from_file(path, arena_size=8 << 20)
    interpreter.set_input(image, 0)
    interpreter.invoke()
    print(interpreter.get_output(0).tolist())
"""


def test_a_reordered_file_computes_the_same(tmp_path: Path) -> None:
    path = shared("mlperf_tiny_models/pretrainedResnet_quant.tflite")
    data = path.read_bytes()
    before = read_tflite(data)
    place = {operator.name: index for index, operator in enumerate(before.operators)}
    shortcuts = {index for index, op in enumerate(before.operators) if op.kind == "CONV_2D" and op.weights[1] == 1}

    def rank(name: str) -> float:
        position = place[name.split(";")[0]]
        return position - 2.5 if position in shortcuts else position

    moved = in_order(data, rank)
    after = read_tflite(moved)
    assert len(moved) == len(data) and after != before
    assert Counter(op.name for op in after.operators) == Counter(op.name for op in before.operators)
    assert costs(after).total_macs == costs(before).total_macs
    assert [op.output for op in after.operators] == sorted(op.output for op in after.operators)
    copy = tmp_path / "moved.tflite"
    copy.write_bytes(moved)
    assert tflm_heads([copy]) == [plan_memory(after).arena_bytes]
    done = subprocess.run([sys.executable, "-c", _INVOKE, path, copy], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == second
    assert in_order(moved, lambda name: place[name.split(";")[0]]) == data
