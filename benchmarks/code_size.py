"""What AutoMCU's runtime takes of Flash beside weights and biases: `python -m benchmarks.code_size`.

For each kind of operator, many networks of one such operator are linked into one image, for boards of several cores:
its kernels are the functions there that firmware without kernels has not. Printed are the figures that
`automcu/feasibility/code_size.py` states for each kernel set: the firmware, what an operator takes of code and tables
beside what each output channel takes (`CHANNEL_BYTES`), and the functions, added up by the kinds that use them.
"""

import io
import re
from collections import defaultdict
from dataclasses import replace
from math import ceil
from types import SimpleNamespace

from elftools.elf.elffile import ELFFile

from automcu.board import Board
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
from benchmarks.bit_exact import image_of, random_cases, roomy_board
from benchmarks.random_graphs import random_graphs

CORES: dict[KernelSet, tuple[str, ...]] = {
    "portable": ("cortex-m0+", "cortex-m4f"),
    "dsp": ("cortex-m4f", "cortex-m7f", "cortex-m33f"),
}
MODELS, GRAPHS, NETWORKS = 300, 10, 40
CHANNEL_BYTES: dict[KernelSet, int] = {"portable": 5, "dsp": 8}
"""A multiplier and a shift for each output channel of a layer with weights; `dsp` keeps them in whole words."""
_OF_A_NETWORK = re.compile(r"n\d+_|network_")


def main() -> None:
    """Print the figures of each kernel set."""
    toolchain = ZigToolchain()
    graphs = [read_model(write_tflite(graph, 0)) for graph in random_graphs("mcu_cnn", GRAPHS, 0)]
    singles = defaultdict(list)
    # Of random models some have extreme weights, for which there are kernels of their own.
    for limit, models in ((NETWORKS, graphs), (3 * NETWORKS, [model for _, model, _ in random_cases(range(MODELS))])):
        for model in models:
            for index, operator in enumerate(model.graph.operators):
                if len(singles[operator.kind]) < limit:
                    singles[operator.kind].append(alone(model, index))
    for kernels, cores in CORES.items():
        firmware, operator_bytes = 0, 0
        functions: dict[str, int] = defaultdict(int)
        users: dict[str, set[str]] = defaultdict(set)
        for board in map(roomy_board, cores):
            bare = image(singles["RESHAPE"][0], board, kernels, toolchain)
            known = function_bytes(bare)
            firmware = max(firmware, bare.flash_bytes)
            for kind, models in singles.items():
                networks = {
                    f"n{i}": (SimpleNamespace(model=model), emitted(model, kernels, f"n{i}"))
                    for i, model in enumerate(models)
                }
                for name, size in kernel_bytes(image_of(networks, board)[0], known).items():
                    functions[name] = max(functions[name], size)
                    users[name].add(kind)
            for model in graphs:
                linked = image(model, board, kernels, toolchain)
                code = sum(kernel_bytes(linked, known).values())
                others = linked.flash_bytes - bare.flash_bytes - code - weights_bytes(model, kernels)
                operator_bytes = max(operator_bytes, ceil(others / len(model.graph.operators)))
        shared: dict[tuple[str, ...], int] = defaultdict(int)
        for name, size in functions.items():
            shared[tuple(sorted(users[name]))] += size
        print(f"{kernels}: firmware {firmware}, an operator {operator_bytes}")
        for kinds, size in sorted(shared.items()):
            print(f"    {kinds}: {size},", flush=True)


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


def kernel_bytes(linked: Image, known: dict[str, int]) -> dict[str, int]:
    """The size of each function of the kernels, in whole words."""
    sizes = function_bytes(linked)
    kernels = (name for name in sizes if name not in known and not _OF_A_NETWORK.match(name))
    return {name: 4 * ceil(sizes[name] / 4) for name in kernels}


def weights_bytes(model: Int8Model, kernels: KernelSet) -> int:
    """Weights and biases in whole words, and what the channels take."""
    channels = sum(model.graph.tensors[op.output].shape[-1] for op in model.graph.operators if op.weights)
    return sum(4 * ceil(size / 4) for size in costs(model.graph).weights_bytes) + CHANNEL_BYTES[kernels] * channels


if __name__ == "__main__":
    main()
