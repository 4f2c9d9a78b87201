"""The arena over time: which tensors lie where while each operator runs, as text and as a picture."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase

from automcu.graph.int8 import Int8Graph
from automcu.graph.planner import ALIGNMENT, MemoryPlan

LETTERS = ascii_uppercase + ascii_lowercase
"""Tensors are lettered in file order, over and over."""
FREE, LIMIT, SCRATCH = ".", "|", "*"
_MAP_COLUMNS = 52
_LABEL_COLUMNS = 26
_FAR = 1.6  # a limit further out than this many arenas is told, not drawn
_CHARACTER_INCHES = 0.068  # at 7 points
_NAMED_OPERATORS = 80
_COLORS = ("#4e79a7", "#59a14f", "#9c755f", "#b07aa1", "#76b7b2", "#edc948", "#86a5c4", "#8cc484")
_SCRATCH_COLOR, _BINDING_COLOR, _LIMIT_COLOR = "#bab0ac", "#e15759", "#c00000"


@dataclass(frozen=True, slots=True)
class Block:
    """One buffer of the arena: `bytes` at `offset`, alive from operator `first` to `last`, both included."""

    letter: str
    label: str
    offset: int
    bytes: int
    first: int
    last: int


def blocks(graph: Int8Graph, plan: MemoryPlan) -> tuple[Block, ...]:
    """All tensors and scratch buffers of the arena; what is made before the first operator counts from there."""
    tensors = tuple(
        Block(
            LETTERS[index % len(LETTERS)],
            short_name(tensor.name),
            plan.offsets[index],
            -(-tensor.bytes // ALIGNMENT) * ALIGNMENT,
            max(plan.lifetimes[index][0], 0),
            plan.lifetimes[index][1],
        )
        for index, tensor in enumerate(graph.tensors)
    )
    return tensors + tuple(
        Block(SCRATCH, "scratch", buffer.offset, buffer.bytes, buffer.operator, buffer.operator)
        for buffer in plan.scratch
    )


def alive_bytes(graph: Int8Graph, plan: MemoryPlan) -> tuple[int, ...]:
    """Bytes alive while each operator runs, scratch included."""
    alive = [0] * len(graph.operators)
    for block in blocks(graph, plan):
        for time in range(block.first, block.last + 1):
            alive[time] += block.bytes
    return tuple(alive)


def short_name(name: str, columns: int = _LABEL_COLUMNS) -> str:
    """The telling part of a tensor's or operator's name: converters chain names with `;`, and write
    `model/layer/operation`."""
    nested = [part for part in name.split(";")[0].split("/") if part] or [name]
    told = nested[-2] if len(nested) > 1 else nested[0]
    return told if len(told) <= columns else f"~{told[1 - columns :]}"


def text_timeline(graph: Int8Graph, plan: MemoryPlan, limit_bytes: int) -> Iterator[str]:
    """Lines of a map, 100 columns wide: an operator a line in file order, arena offsets from left to right, each
    tensor a letter. `limit_bytes` is what the board leaves for the arena.
    """
    drawn = plan.arena_bytes <= limit_bytes <= plan.arena_bytes * _FAR or 0 < limit_bytes < plan.arena_bytes
    end = max(plan.arena_bytes, limit_bytes if drawn else 0)
    buffers, alive = blocks(graph, plan), alive_bytes(graph, plan)
    gaps = plan.arena_bytes - plan.lower_bound_bytes
    yield f"memory timeline: arena of {plan.arena_bytes:,} B" + (
        f", {gaps:,} B of it lost to gaps between tensors" if gaps else ""
    )
    yield f"(a letter a tensor, '{SCRATCH}' scratch, '{FREE}' free" + (
        f", '{LIMIT}' the board's limit)" if drawn else ")"
    )
    if not drawn:
        where = "further right" if limit_bytes > 0 else "as the runtime alone takes more"
        yield f"(the board leaves {max(0, limit_bytes):,} B for the arena, {where})"
    scale = f"0{f'{end:,} B'.rjust(_MAP_COLUMNS - 1)}"
    yield f"{'#':>3} {'makes':<{_LABEL_COLUMNS + 2}} {'bytes alive':>11}  {scale}"
    for time, operator in enumerate(graph.operators):
        row = [FREE] * _MAP_COLUMNS
        for block in sorted(buffers, key=lambda block: -block.bytes):
            if block.first <= time <= block.last:
                begin, stop = _columns(block.offset, block.offset + block.bytes, end)
                row[begin:stop] = block.letter * (stop - begin)
        if drawn:
            row.insert(min(_MAP_COLUMNS, round(limit_bytes / end * _MAP_COLUMNS)), LIMIT)
        letter = LETTERS[operator.output % len(LETTERS)]
        mark = " peak" if time == plan.binding_operator else ""
        name = short_name(operator.name)
        yield f"{time:>3} {letter} {name:<{_LABEL_COLUMNS}} {alive[time]:>11,}  {''.join(row)}{mark}"


def _columns(begin: int, stop: int, end: int) -> tuple[int, int]:
    """First and past-the-last column of the bytes from `begin` to `stop`: at least one."""
    first = min(_MAP_COLUMNS - 1, round(begin / end * _MAP_COLUMNS))
    return first, max(first + 1, round(stop / end * _MAP_COLUMNS))


def plot_timeline(graph: Int8Graph, plan: MemoryPlan, limit_bytes: int, title: str, board: str) -> bytes:
    """A PNG: operators from left to right, arena offsets in KB (1,000 bytes) upwards, a rectangle a tensor over the
    operators during which it is alive. The binding operator is highlighted; a line marks `limit_bytes`, what `board`
    leaves for the arena."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    count = len(graph.operators)
    width = min(18.0, max(7.0, 2.5 + 0.32 * count))
    figure = Figure(figsize=(width, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    far = limit_bytes > plan.arena_bytes * _FAR
    top = plan.arena_bytes if far else max(plan.arena_bytes, limit_bytes)
    binding = plan.binding_operator
    axes.axvspan(binding - 0.5, binding + 0.5, color=_BINDING_COLOR, alpha=0.18, linewidth=0)
    for number, block in enumerate(blocks(graph, plan)):
        binds = block.first <= binding <= block.last
        axes.add_patch(
            Rectangle(
                (block.first - 0.5, block.offset / 1000),
                block.last - block.first + 1,
                block.bytes / 1000,
                facecolor=_SCRATCH_COLOR if block.letter == SCRATCH else _COLORS[number % len(_COLORS)],
                edgecolor=_BINDING_COLOR if binds else "white",
                linewidth=1.6 if binds else 0.5,
                zorder=3 if binds else 2,
            )
        )
        inches = (width - 1) * (block.last - block.first + 1) / count, 4.0 * block.bytes / top
        if inches[0] > 0.25 and inches[1] > 0.16:
            upright = len(block.label) * _CHARACTER_INCHES > inches[0]
            fits = len(block.label) * _CHARACTER_INCHES < max(inches)
            axes.text(
                (block.first + block.last) / 2,
                (block.offset + block.bytes / 2) / 1000,
                _plain(block.label) if fits else block.letter,
                rotation=90 if upright and fits else 0,
                ha="center",
                va="center",
                fontsize=7,
                color="black",
                clip_on=True,
                parse_math=False,
                zorder=5,
            )
    if not far and limit_bytes > 0:
        axes.axhline(limit_bytes / 1000, color=_LIMIT_COLOR, linestyle="--", linewidth=1.4, zorder=4)
    where = ", above this picture" if far else " (dashed line)" if limit_bytes > 0 else ""
    axes.set_title(
        f"{_plain(title[:60])}: {_peak(graph, plan)}\n"
        f"{board} leaves {max(0, limit_bytes) / 1000:,.1f} KB for the arena{where}",
        fontsize=10,
        parse_math=False,
    )
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(0, top * 1.06 / 1000)
    axes.set_ylabel("arena offset (KB of 1,000 bytes)")
    every = -(-count // _NAMED_OPERATORS)
    ticks = [binding, *(tick for tick in range(0, count, every) if abs(tick - binding) >= every)]
    names = [f"{tick} {_plain(short_name(graph.operators[tick].name))}" for tick in ticks]
    axes.set_xticks(ticks, names, rotation=90, fontsize=7, parse_math=False)
    axes.get_xticklabels()[0].set(color=_LIMIT_COLOR, weight="bold")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=110)
    return sink.getvalue()


def _peak(graph: Int8Graph, plan: MemoryPlan) -> str:
    name = _plain(short_name(graph.operators[plan.binding_operator].name))
    arena, bound = plan.arena_bytes / 1000, plan.lower_bound_bytes / 1000
    if plan.arena_bytes == plan.lower_bound_bytes:
        return f"arena {arena:,.1f} KB, all of it alive at {name}"
    return f"arena {arena:,.1f} KB; {bound:,.1f} KB alive at {name}, the rest is lost to gaps"


def _plain(name: str) -> str:
    """`name` in characters that the picture's font has."""
    return "".join(character if character.isascii() and character.isprintable() else "?" for character in name)
