"""Virtual boards: memory to the byte, faults in words, instructions counted exactly."""

import gc
import re
import time
from collections import Counter
from functools import cache
from hashlib import sha256
from pathlib import Path

import capstone
import numpy as np
import pytest
from unicorn.arm_const import UC_ARM_REG_LR
from unicorn.unicorn_const import UC_HOOK_CODE

from automcu.board import Board
from automcu.board_table import load_board, load_boards
from automcu.deploy.boards.emulator import Emulator
from automcu.deploy.boards.functions import ENTRY
from automcu.deploy.boards.link import BoardFault, BoardHung, BoardUnavailable
from automcu.deploy.boards.protocol import ProtocolSession
from automcu.deploy.boards.virtual import VirtualBoard, VirtualSession
from automcu.deploy.emit.emitter import emit_network
from automcu.deploy.firmware.project import firmware_project
from automcu.deploy.latency.instruction import decode
from automcu.deploy.toolchain.toolchain import Image
from automcu.deploy.toolchain.zig import ZigToolchain
from automcu.export.interpreter import run_bytes
from automcu.graph.planner import plan_memory
from automcu.graph.tflite.constants import read_model
from tests.contracts.board_link import (
    CALL,
    COMPUTE,
    READ,
    RECURSE,
    UNDEFINED,
    WEIGHTS,
    WRITE,
    BoardLinkContract,
    expected,
    firmware,
    inputs,
)
from tests.graph.shared_models import shared

CORES = {
    "cortex-m0": "nucleo_f072rb",
    "cortex-m0+": "nucleo_l011k4",
    "cortex-m3": "stm32l151",
    "cortex-m4f": "nucleo_f446re",
    "cortex-m7f": "nucleo_h743zi2",
    "cortex-m33f": "nucleo_u575zi_q",
}
"""A board for each core; among them the smallest (2 KiB of RAM), and one with RAM in many places."""

DISASSEMBLER = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)


@cache
def image_for(name: str) -> Image:
    return ZigToolchain().build(firmware(load_board(name)))


class TestVirtualBoard(BoardLinkContract):
    @pytest.fixture
    def link_of(self):
        return lambda limit_seconds: VirtualBoard(load_board("nucleo_f446re"), limit_seconds)

    @pytest.fixture
    def image(self):
        return image_for("nucleo_f446re")


def infer(name: str, given: bytes) -> bytes:
    with VirtualBoard(load_board(name)).open(image_for(name)) as session:
        return session.infer(given).outputs


@pytest.mark.parametrize("name", CORES.values())
def test_every_core_computes(name):
    given = inputs(COMPUTE, 0x8040_2010, 200)
    assert infer(name, given) == expected(given)


@pytest.mark.parametrize("name", ["nucleo_l011k4", "nucleo_h743zi2"])
def test_memory_is_the_parts_to_the_byte(name):
    board = load_board(name)
    all_bytes = [range(region.address, region.address + region.size_bytes) for region in board.regions]
    for region in board.regions:
        first, last = region.address, region.address + region.size_bytes - 1
        if region.kind == "ram":
            # Not the image's own data: the far end of the region, which the stack or arena does not reach.
            assert infer(name, inputs(WRITE, last))[0] == 1
        else:
            assert len(infer(name, inputs(READ, first))) == 4
            assert infer(name, inputs(READ, last))[0] == 0xFF
        for outside in (first - 1, last + 1):
            if not any(outside in addresses for addresses in all_bytes):
                with pytest.raises(BoardFault, match=f"read of 1 bytes at 0x{outside:08x}.*outside the part's memory"):
                    infer(name, inputs(READ, outside))


@pytest.mark.parametrize("board", load_boards(), ids=lambda board: board.name)
def test_every_board_of_the_table_is_mapped_exactly(board: Board):
    emulator = Emulator(board, image_on(board), 1.0)
    mapped = {(begin, end + 1 - begin) for begin, end, _ in emulator._engine.mem_regions()}
    assert mapped >= {(region.address, region.size_bytes) for region in board.regions}
    others = mapped - {(region.address, region.size_bytes) for region in board.regions}
    assert all(address >= 0x4000_0000 and size in (1024, 4096) for address, size in others)
    emulator.close()


def image_on(board: Board) -> Image:
    """Any image, moved to the board's Flash."""
    image = image_for("nucleo_f446re")
    flash = max((region for region in board.regions if region.kind == "flash"), key=lambda region: region.size_bytes)
    return Image(image.elf, image.binary, flash.address, 0, 0, 0, {}, "")


FAULTS = {
    "a write of 1 bytes to Flash at 0x08000004": inputs(WRITE, 0x0800_0004),
    "a write of 1 bytes at 0x60000000, outside the part's memory": inputs(WRITE, 0x6000_0000),
    "an instruction fetch from 0x60000000": inputs(CALL, 0x6000_0000),
    "an undefined instruction": inputs(UNDEFINED),
    "outside the part's memory, at pc .*recurse": inputs(RECURSE),
}


@pytest.mark.parametrize("name", ["nucleo_l011k4", "nucleo_f446re", "nucleo_u575zi_q"])
@pytest.mark.parametrize("words", FAULTS)
def test_faults_in_words(name, words):
    with VirtualBoard(load_board(name)).open(image_for(name)) as session:
        with pytest.raises(BoardFault, match=words) as caught:
            session.infer(FAULTS[words])
        assert "fetch" in words or ENTRY in str(caught.value) or "recurse" in str(caught.value)
        with pytest.raises(BoardFault, match=words):
            session.statistics()


def test_images_that_cannot_start():
    image = image_for("nucleo_f446re")
    open_ = VirtualBoard(load_board("nucleo_f446re")).open
    arm_vector = image.binary[:4] + bytes([image.binary[4] & 0xFE]) + image.binary[5:]
    for binary, address, words in (
        (image.binary, 0x0808_0000, "is not in the Flash of STM32F446RET6"),
        (image.binary + bytes(512 << 10), 0x0800_0000, "is not in the Flash"),
        (arm_vector, 0x0800_0000, "no Thumb address"),
        (bytes(4) + image.binary[4:], 0x0800_0000, "outside the part's memory"),
    ):
        broken = Image(image.elf, binary, address, 0, 0, 0, image.symbols, "")
        with pytest.raises(BoardFault, match=words), open_(broken):
            pass


def test_a_core_that_cannot_be_emulated():
    board = load_board("nucleo_f446re")
    other = Board(**{name: getattr(board, name) for name in board.__slots__} | {"core": "cortex-m55"})
    with (
        pytest.raises(BoardUnavailable, match="no virtual cortex-m55"),
        VirtualBoard(other).open(image_for(board.name)),
    ):
        pass


class _OneByOne:
    """Counts a run of `network_run` instruction by instruction, in Python."""

    def __init__(self, emulator: Emulator, entry: int) -> None:
        self._entry = entry & ~1
        self._return: int | None = None
        self.executed: dict[int, int] = {}
        emulator._engine.hook_add(UC_HOOK_CODE, self._count)

    def _count(self, engine, address, size, data):
        if address == self._entry:
            self._return = engine.reg_read(UC_ARM_REG_LR) & ~1
            self.executed = {}
        elif address == self._return:
            self._return = None
        if self._return is not None:
            self.executed[address] = self.executed.get(address, 0) + 1


@pytest.mark.parametrize("name", CORES.values())
def test_instructions_are_counted_exactly(name):
    """Blocks, however Unicorn splits them, against every single instruction; and the firmware's counter agrees."""
    image = image_for(name)
    emulator = Emulator(load_board(name), image, 60.0)
    session = VirtualSession(emulator, image, 60.0)
    truth = _OneByOne(emulator, image.symbols[ENTRY])
    for given in (inputs(COMPUTE, 0x1234_5678, 99), inputs(COMPUTE, 7)):
        profile = session.profile(given)
        counted: Counter[int] = Counter()
        conditional: dict[int, int] = {}
        for block in profile.blocks:
            it, left = 0, 0
            for address, _, mnemonic, _ in DISASSEMBLER.disasm_lite(block.code, block.address):
                counted[address] += block.runs
                if mnemonic.startswith("it"):
                    it, left = address, len(mnemonic) - 1
                elif left:
                    conditional[address] = it
                    left -= 1
        # Unicorn's hook leaves out instructions whose condition failed; they are there as often as their IT.
        assert {at: runs for at, runs in counted.items() if at not in conditional} == {
            at: runs for at, runs in truth.executed.items() if at not in conditional
        }
        assert all(counted[at] == truth.executed[it] for at, it in conditional.items())
        assert bool(conditional) == ("m0" not in load_board(name).core)
        assert session.infer(given).ticks == profile.instructions == counted.total()
        firmware_ticks = ProtocolSession.infer(session, given).ticks
        assert 0 < firmware_ticks - profile.instructions < 60
    emulator.close()


@pytest.mark.parametrize("name", ["nucleo_f072rb", "nucleo_f446re"])
def test_a_profile_tells_what_ran(name):
    given = inputs(COMPUTE, 0x0101_0101, 40)
    with VirtualBoard(load_board(name)).open(image_for(name)) as session:
        profile = session.profile(given)
        assert profile.instructions == session.infer(given).ticks
    layers = [call for call in profile.calls if call.function == "layer"]
    weights = [sum(block.flash_bytes for block in call.blocks) for call in layers]
    assert len(layers) == 2
    # Each call reads its weights from Flash, and a few constants among the code.
    assert len(WEIGHTS) <= weights[0] < len(WEIGHTS) + 60 and 40 <= weights[1] < 100
    assert profile.by_function["layer"] > 0.9 * profile.instructions
    decoded = [
        (instruction, block.runs) for block in profile.blocks for instruction in decode(block.code, block.address)
    ]
    assert sum(runs for _, runs in decoded) == profile.instructions
    loop = max(layers[0].blocks, key=lambda block: block.runs)
    assert all(block.taken <= block.runs for block in profile.blocks) and loop.runs >= len(WEIGHTS) / 8


def test_three_runs_count_the_same():
    counts = set()
    for _ in range(3):
        with VirtualBoard(load_board("nucleo_f446re")).open(image_for("nucleo_f446re")) as session:
            counts.add(tuple(session.infer(inputs(COMPUTE, 5, more)).ticks for more in (0, 100, 0)))
    ((first, second, third),) = counts
    assert first == third != second


def test_the_memory_of_a_board_is_freed():
    def resident_kib() -> int:
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])

    board, image = load_board("nucleo_h743zi2"), image_for("nucleo_h743zi2")
    for _ in range(3):
        with VirtualBoard(board).open(image) as session:
            session.infer(inputs(COMPUTE))
    gc.disable()
    try:
        before = resident_kib()
        for _ in range(10):  # of 3 MiB of Flash and RAM each
            with VirtualBoard(board).open(image) as session:
                session.infer(inputs(COMPUTE))
        assert resident_kib() - before < 10_000
    finally:
        gc.enable()
    with pytest.raises(BoardHung, match="open it again"):
        session.profile(inputs(COMPUTE))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nucleo_g071rb", "nucleo_l4r5zi", "nucleo_u575zi_q"])
def test_boot_and_32_inferences_of_a_network_of_2_million_macs_take_10_seconds(name):
    """The keyword model (2.7 million), from reset to the last output."""
    tflite = shared("mlperf_tiny_models/kws_ref_model.tflite").read_bytes()
    board, kernels = load_board(name), "portable"
    model = read_model(tflite)
    plan = plan_memory(model.graph, in_place_add=True, kernels=kernels)
    image = ZigToolchain().build(
        firmware_project(board, emit_network(model, plan, kernels, sha256(tflite).hexdigest()))
    )
    samples = np.random.default_rng(0).integers(0, 256, (32, 490), np.uint8)
    start = time.monotonic()
    with VirtualBoard(board).open(image) as session:
        answers = [session.infer(sample.tobytes()) for sample in samples]
    assert time.monotonic() - start < 10
    assert [answer.outputs for answer in answers] == [row.tobytes() for row in run_bytes(tflite, samples, 1, 60.0)]
