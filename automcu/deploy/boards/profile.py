"""What a virtual board executed for one inference: basic blocks that were counted, and the code in them.

Exact, but that an instruction whose condition failed (in an IT block) counts as executed: it takes its time too.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from automcu.deploy.boards.block_counter import Block
from automcu.deploy.boards.functions import ENTRY, Function, functions
from automcu.deploy.latency.estimate import ExecutedBlock
from automcu.deploy.toolchain.toolchain import Image


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """What one call in `network_run` took, the code there that leads to it included. `function` is what was called, or
    `network_run` where that code calls nothing. `by_function` has the instructions of each function that had a part."""

    function: str
    blocks: tuple[ExecutedBlock, ...]
    by_function: Mapping[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """One run of `network_run`. Its calls are in the order of its code: that of the layers which need a call."""

    calls: tuple[Call, ...]

    @property
    def blocks(self) -> tuple[ExecutedBlock, ...]:
        """Everything that was executed; code that several calls share is there for each."""
        return tuple(block for call in self.calls for block in call.blocks)

    @property
    def instructions(self) -> int:
        """How many were executed: the ticks of the inference."""
        return sum(sum(call.by_function.values()) for call in self.calls)

    @property
    def flash_bytes(self) -> int:
        """What loads read from Flash: weights, and constants among the code."""
        return sum(block.flash_bytes for block in self.blocks)

    @property
    def by_function(self) -> Mapping[str, int]:
        """Instructions by function, the most expensive first."""
        total: Counter[str] = Counter()
        for call in self.calls:
            total.update(call.by_function)
        return dict(total.most_common())


def profile_of(image: Image, blocks: Sequence[Block]) -> Profile:
    """The profile of the run of `image` in which `blocks` were executed."""
    known = functions(image.elf)
    sites: dict[int, list[Block]] = {}
    for block in blocks:
        sites.setdefault(block.site, []).append(block)
    return Profile(tuple(_call(image, known, sites[site]) for site in sorted(sites)))


def _call(image: Image, known: Sequence[Function], blocks: Sequence[Block]) -> Call:
    executed = []
    by_function: Counter[str] = Counter()
    for block in blocks:
        begin = block.address - image.load_address
        code = image.binary[begin : begin + block.size_bytes]
        executed.append(ExecutedBlock(block.address, code, block.runs, block.taken, block.flash_bytes))
        by_function[_name(known, block.address)] += block.runs * block.instructions
    called = next((name for name in by_function if name != ENTRY), ENTRY)  # in the order of execution
    return Call(called, tuple(executed), by_function)


def _name(known: Sequence[Function], address: int) -> str:
    at = bisect_right(known, address, key=lambda function: function.start) - 1
    return known[at].name if at >= 0 and address < known[at].end else f"0x{address:08x}"
