"""What AutoMCU's runtime takes of Flash beside weights and biases: `python -m experiments.code_size.measure`.

For each kind of operator, many networks of one such operator are linked into one image, for boards of several cores:
what its kernels take is the sizes of all functions there that firmware without kernels has not. Printed are the figures
that `automcu/feasibility/planner_tier.py` states for each kernel set: the firmware, the kernels of each kind, and what
an operator takes of code and tables beside 8 bytes for each output channel. Functions that kinds share count for each,
so that a sum over the kinds of a network is never too small.
"""

import io
import re
from collections import defaultdict
from dataclasses import replace
from math import ceil
from types import SimpleNamespace

from elftools.elf.elffile import ELFFile

from automcu.board import Board
from automcu.board_table import load_board
from automcu.deploy.emit.emitter import EmittedNetwork, emit_network
from automcu.deploy.firmware.project import firmware_project
from automcu.deploy.toolchain.toolchain import Image
from automcu.deploy.toolchain.zig import ZigToolchain
from automcu.graph.costs import costs
from automcu.graph.int8 import Int8Graph
from automcu.graph.int8_model import Int8Model
from automcu.graph.kernel_sets import KernelSet
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.constants import read_model
from automcu.graph.tflite.writer import write_tflite
from benchmarks.bit_exact import image_of, roomy_board
from benchmarks.random_graphs import random_graphs
from tests.deploy.random_models import random_model

CORES: dict[KernelSet, tuple[str, ...]] = {
    "portable": ("cortex-m0+", "cortex-m4f"),
    "dsp": ("cortex-m4f", "cortex-m7f", "cortex-m33f"),
}
MODELS, GRAPHS, NETWORKS = 300, 10, 40
CHANNEL_BYTES = 8
"""At most a multiplier, a shift and its padding for each output channel of a layer with weights."""
_OF_A_NETWORK = re.compile(r"n\d+_|network_")


def main() -> None:
    """Print the figures of each kernel set."""
    toolchain = ZigToolchain()
    graphs = [read_model(write_tflite(graph, 0)) for graph in random_graphs("mcu_cnn", GRAPHS, 0)]
    singles = defaultdict(list)
    for model in (*graphs, *(random_model(seed) for seed in range(MODELS))):
        for index, operator in enumerate(model.graph.operators):
            if len(singles[operator.kind]) < NETWORKS:
                singles[operator.kind].append(alone(model, index))
    for kernels, cores in CORES.items():
        firmware, operator_bytes = 0, 0
        code: dict[str, int] = dict.fromkeys(sorted(singles), 0)
        for board in map(roomy_board, cores):
            bare = image(singles["RESHAPE"][0], board, kernels, toolchain)
            known = function_bytes(bare)
            firmware = max(firmware, bare.flash_bytes)
            for kind, models in singles.items():
                networks = {
                    f"n{i}": (SimpleNamespace(model=model), emitted(model, kernels, f"n{i}"))
                    for i, model in enumerate(models)
                }
                sizes = function_bytes(image_of(networks, board)[0])
                added = [
                    size + 3 for name, size in sizes.items() if name not in known and not _OF_A_NETWORK.match(name)
                ]
                code[kind] = max(code[kind], sum(added))
            for model in graphs:
                linked = image(model, board, kernels, toolchain)
                others = linked.flash_bytes - bare.flash_bytes - kernel_bytes(linked, known) - weights_bytes(model)
                operator_bytes = max(operator_bytes, ceil(others / len(model.graph.operators)))
        print(f"{kernels}: firmware {firmware}, an operator {operator_bytes}, kernels of a kind {code}", flush=True)


def alone(model: Int8Model, index: int) -> Int8Model:
    """The network of one operator of `model`."""
    operator = model.graph.operators[index]
    kept = list(dict.fromkeys((*operator.inputs, operator.output)))
    place = {tensor: new for new, tensor in enumerate(kept)}
    inputs = tuple(place[tensor] for tensor in operator.inputs)
    graph = Int8Graph(
        tensors=tuple(model.graph.tensors[tensor] for tensor in kept),
        operators=(replace(operator, inputs=inputs, output=place[operator.output]),),
        inputs=tuple(dict.fromkeys(inputs)),
        outputs=(place[operator.output],),
    )
    quantization = tuple(model.quantization[tensor] for tensor in kept)
    return Int8Model(graph, quantization, (model.constants[index],), (model.attributes[index],))


def emitted(model: Int8Model, kernels: KernelSet, name: str) -> EmittedNetwork:
    """The network as C."""
    return emit_network(model, plan_memory(model.graph, in_place_add=True, kernels=kernels), kernels, "0" * 64, name)


def image(model: Int8Model, board: Board, kernels: KernelSet, toolchain: ZigToolchain) -> Image:
    """Linked firmware of `model`."""
    return toolchain.build(firmware_project(board, emitted(model, kernels, "network")))


def function_bytes(linked: Image) -> dict[str, int]:
    """The size of each function."""
    symbols = ELFFile(io.BytesIO(linked.elf)).get_section_by_name(".symtab")
    return {s.name: s["st_size"] for s in symbols.iter_symbols() if s["st_info"]["type"] == "STT_FUNC"}


def kernel_bytes(linked: Image, known: dict[str, int]) -> int:
    """What the kernels take in the image of one network."""
    sizes = function_bytes(linked)
    return sum(size for name, size in sizes.items() if name not in known and not _OF_A_NETWORK.match(name))


def weights_bytes(model: Int8Model) -> int:
    """Weights and biases in whole words, and what the channels take."""
    channels = sum(model.graph.tensors[op.output].shape[-1] for op in model.graph.operators if op.weights)
    return sum(4 * ceil(size / 4) for size in costs(model.graph).weights_bytes) + CHANNEL_BYTES * channels


if __name__ == "__main__":
    main()
