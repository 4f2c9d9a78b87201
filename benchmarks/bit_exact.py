"""Whether firmware computes what tflite-micro computes, byte for byte, on every core and with every kernel set.

    python -m benchmarks.bit_exact [--count 500] [--seed 0] [--cores cortex-m4f ...] [--kernels dsp ...] [--trained]

Random networks over all operators (`tests/deploy/random_models.py`) and corner cases (`tests/deploy/corner_models.py`)
are emitted, linked into images, many in each, and run on virtual boards with four inputs each; every output is compared
with tflite-micro's. A network from which constant channels can be removed runs a second time without them, against the
outputs of the file with them. Each network's first input is run three times, on a board that starts anew, and must
execute the same number of instructions. The boards are real ones but for their memories, which hold many networks.

`--trained` runs the network of experiments/first_run instead, whole and alone, on a virtual nucleo_f446re with its true
memories: 1,000 test images of CIFAR-100, three times.

Printed: a table, the operators that occurred, and whatever differs; the exit status is 1 if anything does.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from automcu.architecture import Task
from automcu.board import Board, MemoryRegion
from automcu.board_table import load_board
from automcu.deploy.boards.virtual import VirtualBoard
from automcu.deploy.emit.emitter import SUPPORTED, EmittedNetwork, emit_network
from automcu.deploy.firmware.project import firmware_project
from automcu.deploy.images import FirmwareOptions, build_firmware
from automcu.deploy.toolchain.toolchain import Image
from automcu.deploy.toolchain.zig import ZigToolchain
from automcu.export.interpreter import images_to_int8, run_int8
from automcu.graph.constant_channels import remove_constant_channels
from automcu.graph.int8_model import Int8Model
from automcu.graph.kernel_sets import KernelSet
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.constants import read_model
from automcu.graph.tflite.writer import write_model
from automcu.training.data import load_test
from tests.deploy.corner_models import corner_cases, with_constant_channels, with_extreme_weights
from tests.deploy.oracle import Oracle
from tests.deploy.random_models import KINDS, random_inputs, random_model

BOARDS = {
    "cortex-m0+": "nucleo_g071rb",
    "cortex-m4f": "nucleo_f446re",
    "cortex-m7f": "nucleo_f746zg",
    "cortex-m33f": "nucleo_u575zi_q",
}
KERNELS: tuple[KernelSet, ...] = ("portable", "dsp", "cmsis_nn")
SAMPLES = 4
RUNS = 3
"""So often an input is run to see whether the instructions are the same each time."""
NETWORKS_PER_IMAGE = 60
_REDUCIBLE = frozenset(
    {
        *("AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D"),
        *("MEAN", "PAD", "REDUCE_MAX", "RESHAPE"),
    }
)
_FLASH_BYTES, _RAM_BYTES = 8 << 20, 2 << 20
_TRAINED = Path(__file__).resolve().parents[1] / "experiments/first_run/model_int8.tflite"
_DATA = Path(os.environ.get("AUTOMCU_DATA", Path(__file__).resolve().parents[2] / "shared/data"))
_IMAGES = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A network to run, with inputs (rows of bytes) and the outputs that tflite-micro has for them."""

    label: str
    model: Int8Model
    inputs: np.ndarray
    outputs: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What one image did. `different` says, for each network that is not right, what is wrong; `instructions` are those
    of all inferences that were compared."""

    networks: int
    compared: int
    equal: int
    instructions: int
    stack_peak_bytes: int
    stack_bytes: int
    different: tuple[str, ...]

    def __add__(self, other: "Found") -> "Found":
        return Found(
            self.networks + other.networks,
            self.compared + other.compared,
            self.equal + other.equal,
            self.instructions + other.instructions,
            max(self.stack_peak_bytes, other.stack_peak_bytes),
            min(self.stack_bytes, other.stack_bytes),
            self.different + other.different,
        )

    @property
    def right(self) -> bool:
        """Whether all is as it must be."""
        return not self.different and self.equal == self.compared and self.stack_peak_bytes < self.stack_bytes


# --- cases


def random_cases(seeds: Iterable[int]) -> Iterator[tuple[str, Int8Model, np.ndarray]]:
    """Random networks with random inputs. Of four, one has constant channels, and kinds that can do without them; one
    has extreme weights and biases."""
    for seed in seeds:
        model = random_model(seed, KINDS if seed % 4 else _REDUCIBLE)
        if seed % 4 == 0:
            model = with_constant_channels(model, seed)
        elif seed % 4 == 1:
            model = with_extreme_weights(model, seed)
        yield f"random {seed}", model, random_inputs(model, seed, SAMPLES)


def cases(given: Iterable[tuple[str, Int8Model, np.ndarray]]) -> Iterator[Case]:
    """`given` (label, model, inputs) with tflite-micro's outputs; then the same without constant channels, where there
    are some."""
    with Oracle() as oracle:
        for label, model, inputs in given:
            data = write_model(model)
            read = read_model(data)
            outputs = oracle.outputs(read.graph, data, inputs)
            yield Case(label, read, inputs, outputs)
            smaller = remove_constant_channels(read)
            if smaller is not read:
                yield Case(f"{label}, constant channels removed", smaller, inputs, outputs)


# --- many networks in one image

_HEADER = """\
#include <stdint.h>

#define NETWORK_ARENA_BYTES 0
#define NETWORK_INPUT_BYTES {input_bytes}
#define NETWORK_OUTPUT_BYTES {output_bytes}
#define NETWORK_INPUTS {inputs}
#define NETWORK_OUTPUTS {outputs}
extern const uint8_t network_sha256[32];
void *network_input(uint32_t i);
uint32_t network_input_bytes(uint32_t i);
const void *network_output(uint32_t i);
uint32_t network_output_bytes(uint32_t i);
void network_run(void);
"""
_SOURCE = """\
#include "network.h"
{networks}

typedef struct {{
    void *(*input)(uint32_t);
    const void *(*output)(uint32_t);
    uint32_t (*input_bytes)(uint32_t), (*output_bytes)(uint32_t);
    void (*run)(void);
    uint32_t inputs, outputs, total_input_bytes, total_output_bytes;
}} entry;

static const entry entries[] = {{
{entries}
}};
static uint8_t selector[2] __attribute__((section(".arena")));
static uint8_t rest[NETWORK_INPUT_BYTES + NETWORK_OUTPUT_BYTES] __attribute__((section(".arena")));
const uint8_t network_sha256[32];

static const entry *chosen(void)
{{
    return &entries[selector[0] + 256 * selector[1]];
}}

/* Input 0 says which network; then come its own, and what is missing of the bytes that all networks take. */
void *network_input(uint32_t i)
{{
    return i == 0 ? selector : i <= chosen()->inputs ? chosen()->input(i - 1) : rest;
}}

uint32_t network_input_bytes(uint32_t i)
{{
    if (i == 0) {{
        return sizeof selector;
    }}
    if (i <= chosen()->inputs) {{
        return chosen()->input_bytes(i - 1);
    }}
    return i == chosen()->inputs + 1 ? NETWORK_INPUT_BYTES - sizeof selector - chosen()->total_input_bytes : 0;
}}

const void *network_output(uint32_t i)
{{
    return i < chosen()->outputs ? chosen()->output(i) : rest;
}}

uint32_t network_output_bytes(uint32_t i)
{{
    if (i < chosen()->outputs) {{
        return chosen()->output_bytes(i);
    }}
    return i == chosen()->outputs ? NETWORK_OUTPUT_BYTES - chosen()->total_output_bytes : 0;
}}

void network_run(void)
{{
    chosen()->run();
}}
"""
_ENTRY = (
    "    {{{name}_input, {name}_output, {name}_input_bytes, {name}_output_bytes, {name}_run, "
    "{macro}_INPUTS, {macro}_OUTPUTS, {macro}_INPUT_BYTES, {macro}_OUTPUT_BYTES}},"
)


def roomy_board(core: str) -> Board:
    """A board of the table with that core, but with memories for many networks."""
    board = load_board(BOARDS[core])
    sizes = {"flash": _FLASH_BYTES, "ram": _RAM_BYTES}
    largest = [
        max((region for region in board.regions if region.kind == kind), key=lambda region: region.size_bytes)
        for kind in sizes
    ]
    regions = tuple(MemoryRegion(it.name, it.kind, it.address, sizes[it.kind]) for it in largest)
    return replace(board, regions=regions)


def image_of(networks: Mapping[str, tuple[Case, EmittedNetwork]], board: Board) -> tuple[Image, int]:
    """One image of all `networks`, by the names that they were emitted with, and the bytes of its input: the position
    of a network (u16), that network's inputs, and zeros."""
    emitted = [network for _, network in networks.values()]
    graphs = [case.model.graph for case, _ in networks.values()]
    sources = {key: text for network in emitted for key, text in network.sources.items()}
    texts = [sources.pop(f"{name}.c") for name in networks]
    input_bytes = 2 + max(network.input_bytes for network in emitted)
    sources["network.h"] = _HEADER.format(
        input_bytes=input_bytes,
        output_bytes=max(network.output_bytes for network in emitted),
        inputs=2 + max(len(graph.inputs) for graph in graphs),
        outputs=1 + max(len(graph.outputs) for graph in graphs),
    )
    sources["network.c"] = _SOURCE.format(
        networks="\n".join(texts),
        entries="\n".join(_ENTRY.format(name=name, macro=name.upper()) for name in networks),
    )
    return ZigToolchain().build(firmware_project(board, replace(emitted[0], sources=sources))), input_bytes


def run_image(core: str, kernels: KernelSet, given: Sequence[Case]) -> Found:
    """Build one image of all `given`, run it, and compare."""
    networks = {f"n{number}": (case, emit(case.model, kernels, f"n{number}")) for number, case in enumerate(given)}
    board = roomy_board(core)
    image, input_bytes = image_of(networks, board)
    equal = instructions = 0
    different = []
    first: list[list[int]] = []
    with VirtualBoard(board).open(image) as session:
        for number, (case, network) in enumerate(networks.values()):
            answers = [session.infer(_selected(number, row, input_bytes)) for row in case.inputs]
            made = np.stack([np.frombuffer(answer.outputs, np.uint8)[: network.output_bytes] for answer in answers])
            right = (made == case.outputs).all(axis=1)
            equal += int(right.sum())
            instructions += sum(answer.ticks for answer in answers)
            first.append([answers[0].ticks])
            if not right.all():
                different.append(_difference(core, kernels, case, made))
        statistics = session.statistics()
    for _ in range(RUNS - 1):
        with VirtualBoard(board).open(image) as session:
            for number, case in enumerate(given):
                first[number].append(session.infer(_selected(number, case.inputs[0], input_bytes)).ticks)
    different += [
        f"{core} {kernels} {case.label}: {ticks} instructions for one input"
        for case, ticks in zip(given, first, strict=True)
        if len(set(ticks)) > 1
    ]
    compared = sum(len(case.inputs) for case in given)
    peak, reserve = statistics.stack_peak_bytes, statistics.stack_bytes
    return Found(len(given), compared, equal, instructions, peak, reserve, tuple(different))


def emit(model: Int8Model, kernels: KernelSet, name: str) -> EmittedNetwork:
    """As it is emitted for a deployment."""
    plan = plan_memory(model.graph, in_place_add=True, kernels=kernels)
    return emit_network(model, plan, kernels, "00" * 32, name)


def _selected(number: int, row: np.ndarray, input_bytes: int) -> bytes:
    return (number.to_bytes(2, "little") + row.tobytes()).ljust(input_bytes, b"\0")


def _difference(core: str, kernels: str, case: Case, made: np.ndarray) -> str:
    wrong = int((made != case.outputs).sum())
    kinds = " ".join(operator.kind for operator in case.model.graph.operators)
    return f"{core} {kernels} {case.label}: {wrong:,} of {made.size:,} bytes differ; {kinds}"


# --- what is printed


def matrix(cores: Sequence[str], kernels: Sequence[KernelSet]) -> list[tuple[str, KernelSet]]:
    """Every core with every set of kernels that it can run."""
    return [(core, used) for core in cores for used in kernels if used == "portable" or core != "cortex-m0+"]


def compare(given: Sequence[Case], combinations: Sequence[tuple[str, KernelSet]], processes: int) -> bool:
    """Run all of `given` in all `combinations`, and print what came out; whether all is right."""
    # A network's inputs are filled up to the longest of its image: those of like length come together.
    ordered = sorted(given, key=lambda case: case.inputs.shape[1])
    batches = [ordered[i : i + NETWORKS_PER_IMAGE] for i in range(0, len(ordered), NETWORKS_PER_IMAGE)]
    right = True
    print(f"{'core':<12} {'kernels':<9} networks  outputs    equal   instructions  worst stack")
    with ProcessPoolExecutor(processes) as pool:
        jobs = [[pool.submit(run_image, *combination, batch) for batch in batches] for combination in combinations]
        for (core, kernels), found in zip(combinations, jobs, strict=True):
            all_ = sum((job.result() for job in found[1:]), start=found[0].result())
            right = right and all_.right
            print(
                f"{core:<12} {kernels:<9} {all_.networks:>8,} {all_.compared:>8,} {all_.equal:>8,} "
                f"{all_.instructions:>14,}  {all_.stack_peak_bytes:,} of {all_.stack_bytes:,} B"
                f"{'' if all_.right else '  NOT RIGHT'}",
                *(f"\n  {line}" for line in all_.different),
                flush=True,
            )
    return right


# --- one trained network, whole


def trained_cases(count: int) -> tuple[bytes, np.ndarray, np.ndarray]:
    """The file, the first test images as its inputs (uint8 rows), and tflite-micro's outputs."""
    tflite = _TRAINED.read_bytes()
    task = Task("cifar100", "cifar100", (32, 32, 3), 100, "")
    images = images_to_int8(load_test(task, [_DATA]).images[:count])
    outputs = run_int8(tflite, images, processes=2, time_limit_s=600)
    return tflite, images.reshape(count, -1).view(np.uint8), outputs.view(np.uint8)


def run_trained(tflite: bytes, inputs: np.ndarray) -> tuple[np.ndarray, list[int], int, int]:
    """On the board as it is: outputs, instructions of each inference, deepest stack and its reserve in bytes."""
    board = load_board(BOARDS["cortex-m4f"])
    firmware = build_firmware(tflite, board, ZigToolchain(), FirmwareOptions())
    with VirtualBoard(board).open(firmware.image) as session:
        answers = [session.infer(row.tobytes()) for row in inputs]
        statistics = session.statistics()
    outputs = np.stack([np.frombuffer(answer.outputs, np.uint8) for answer in answers])
    return outputs, [answer.ticks for answer in answers], statistics.stack_peak_bytes, statistics.stack_bytes


def compare_trained(count: int, processes: int) -> bool:
    """Run and print; whether all is right."""
    tflite, inputs, expected = trained_cases(count)
    parts = np.array_split(np.arange(count), processes)
    with ProcessPoolExecutor(processes) as pool:
        jobs = [[pool.submit(run_trained, tflite, inputs[part]) for part in parts] for _ in range(RUNS)]
        runs = [[job.result() for job in run] for run in jobs]
    outputs = [np.concatenate([found[0] for found in run]) for run in runs]
    ticks = [[tick for found in run for tick in found[1]] for run in runs]
    peak, reserve = max(found[2] for run in runs for found in run), runs[0][0][3]
    equal = [int((made == expected).all(axis=1).sum()) for made in outputs]
    same = all(run == ticks[0] for run in ticks)
    print(
        f"{_TRAINED.parent.name}/{_TRAINED.name} on a virtual {BOARDS['cortex-m4f']}, {RUNS} runs: outputs equal to "
        f"tflite-micro's for {', '.join(f'{number:,}' for number in equal)} of {count:,} images\n"
        f"instructions: {min(ticks[0]):,} to {max(ticks[0]):,} an image, {sum(ticks[0]):,} in all, "
        f"{'identical in all runs' if same else 'NOT the same in all runs'}; deepest stack {peak:,} of {reserve:,} B"
    )
    return same and equal == [count] * RUNS and peak < reserve


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="of the first random network; the others follow")
    parser.add_argument("--cores", nargs="+", choices=BOARDS, default=list(BOARDS))
    parser.add_argument("--kernels", nargs="+", choices=KERNELS, default=list(KERNELS))
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--trained", action="store_true", help="the trained network instead")
    asked = parser.parse_args()
    began = time.perf_counter()
    if asked.trained:
        right = compare_trained(_IMAGES, asked.processes)
    else:
        given = list(cases([*random_cases(range(asked.seed, asked.seed + asked.count)), *corner_cases()]))
        kinds = Counter(operator.kind for case in given for operator in case.model.graph.operators)
        reduced = sum("removed" in case.label for case in given)
        corners = len(given) - reduced - asked.count
        print(f"{asked.count} random networks, {corners} corner cases, {reduced} without their constant channels")
        right = compare(given, matrix(asked.cores, asked.kernels), asked.processes)
        print("operators:", ", ".join(f"{kind} {kinds[kind]:,}" for kind in sorted(kinds)))
        if absent := SUPPORTED - kinds.keys():
            right = False
            print("operators that never occurred:", ", ".join(sorted(absent)))
    print(f"{'all right' if right else 'NOT right'}, {time.perf_counter() - began:.0f} s")
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
