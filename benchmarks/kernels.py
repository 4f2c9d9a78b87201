"""How fast the kernel sets are on virtual boards: instructions, and estimated cycles, for each multiplication (MAC).

    python -m benchmarks.kernels [--networks resnet8 kws ...] [--cores m4 m33 m7] [--sets portable dsp ...] [--layers]

Instructions are those of one whole inference as the virtual board executes them: exact, the same each time, divided by
the network's multiplications. Cycles are an estimate (`automcu.deploy.latency`). All sets must give the same output.
CMSIS-NN 4.0.0 comes from the package `bakenn`; for what its wheel lacks (sums, softmax, padding), that set has the
portable kernels, so the figure in brackets leaves out all but convolutions and dense layers. `--layers` adds the
instructions of each call. The exit status is 1 where `dsp` takes more instructions than `cmsis_nn`.

The networks: three of MLPerf Tiny (ResNet-8, keyword spotting, visual wake words), MobileNetV1 0.25-96 of ST's model
zoo, and one that AutoMCU found (`experiments/first_run`).
"""

import argparse
import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from automcu.board_table import load_board
from automcu.deploy.boards.profile import Call
from automcu.deploy.boards.virtual import VirtualBoard
from automcu.deploy.emit.emitter import emit_network
from automcu.deploy.firmware.project import firmware_project
from automcu.deploy.latency.estimate import estimate_cycles
from automcu.deploy.toolchain.zig import ZigToolchain
from automcu.graph.costs import costs
from automcu.graph.kernel_sets import KernelSet
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.constants import read_model

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("AUTOMCU_DATA", ROOT.parent / "shared/data"))
NETWORKS = {
    "resnet8": DATA / "mlperf_tiny_models/pretrainedResnet_quant.tflite",
    "kws": DATA / "mlperf_tiny_models/kws_ref_model.tflite",
    "mobilenet_v1": DATA / "st_models/mobilenet_v1_0.25_96_fft_int8.tflite",
    "vww": DATA / "mlperf_tiny_models/vww_96_int8.tflite",
    "found": ROOT / "experiments/first_run/model_int8.tflite",
}
BOARDS = {"m4": "nucleo_l4r5zi", "m33": "nucleo_u575zi_q", "m7": "nucleo_h743zi2"}
"""Boards with enough memory for all of them."""
SETS: tuple[KernelSet, ...] = ("portable", "dsp", "cmsis_nn")
_WEIGHTED = ("conv", "dense", "depthwise", "fully_connected")


@dataclass(frozen=True, slots=True)
class Measured:
    """One inference. `weighted_instructions` are those of the calls that multiply with weights; sizes are those of the
    whole image, and of the planned arena with the kernels' scratch."""

    output: bytes
    calls: tuple[Call, ...]
    instructions: int
    weighted_instructions: int
    cycles: int
    flash_bytes: int
    arena_bytes: int


def measure(path: Path, kernels: KernelSet, board_name: str) -> Measured:
    """Build the network at `path` with that kernel set, and run it once on the virtual board on random input."""
    data = path.read_bytes()
    model = read_model(data)
    board = load_board(board_name)
    plan = plan_memory(model.graph, in_place_add=True, kernels=kernels)
    network = emit_network(model, plan, kernels, hashlib.sha256(data).hexdigest())
    image = ZigToolchain().build(firmware_project(board, network))
    inputs = np.random.default_rng(0).integers(0, 256, network.input_bytes, dtype=np.uint8).tobytes()
    with VirtualBoard(board).open(image) as session:
        output = session.infer(inputs).outputs
        profile = session.profile(inputs)
    weighted = [call for call in profile.calls if any(kind in call.function for kind in _WEIGHTED)]
    return Measured(
        output,
        profile.calls,
        profile.instructions,
        sum(sum(call.by_function.values()) for call in weighted),
        estimate_cycles(profile.blocks, board.core, image.constant_bytes).cycles,
        image.flash_bytes,
        network.arena_bytes,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--cores", nargs="+", choices=BOARDS, default=list(BOARDS))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--layers", action="store_true")
    given = parser.parse_args(arguments)
    print("instructions per MAC (of convolutions and dense layers alone), estimated cycles per MAC, Flash, arena")
    slower = False
    for name in given.networks:
        path = NETWORKS[name]
        if not path.exists():
            print(f"{name}: no {path}; set AUTOMCU_DATA to the folder of the shared models")
            continue
        macs = costs(read_model(path.read_bytes()).graph).total_macs
        print(f"{name}: {macs / 1e6:.2f} M MACs")
        for core in given.cores:
            measured = {kernels: measure(path, kernels, BOARDS[core]) for kernels in given.sets}
            for kernels, one in measured.items():
                print(
                    f"  {core:4} {kernels:9} {one.instructions / macs:6.3f} ({one.weighted_instructions / macs:6.3f})"
                    f"  {one.cycles / macs:6.3f}  {one.flash_bytes:8,} B  {one.arena_bytes:8,} B"
                )
                if given.layers:
                    for call in one.calls:
                        print(f"       {sum(call.by_function.values()):10,} {call.function}")
            if len({one.output for one in measured.values()}) > 1:
                raise AssertionError(f"the outputs of the kernel sets differ: {name} on {core}")
            if {"dsp", "cmsis_nn"} <= set(measured):
                slower |= measured["dsp"].instructions > measured["cmsis_nn"].instructions
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
