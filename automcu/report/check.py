"""What `automcu check` and `automcu boards` print: for people, and as JSON. Tables are in KB of 1,000 bytes."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from textwrap import wrap
from typing import Any

from automcu.board import Board, Resource, Violation
from automcu.check import GRAPH_TIERS, Judged, Model, plan_on, size
from automcu.graph.costs import costs
from automcu.graph.int8 import Int8Graph
from automcu.graph.planner import MemoryPlan
from automcu.report.timeline import alive_bytes, short_name, text_timeline

SMALLEST = "smallest by RAM, then Flash, then clock"
_COLUMNS = 100
_PLANNED_TIERS = ("planner", "tflm")  # whose arena is the planner's
_SENTENCES = {
    "ram": "Needs {value} of RAM{parts}, {over} more than the {limit} allowed; decided by {binding}.",
    "flash": "Needs {value} of Flash{parts}, {over} more than the {limit} allowed; heaviest layer: {binding}.",
    "macs": "Takes {value}, {over} more than the {limit} allowed; busiest layer: {binding}.",
    "latency": "Takes about {value}{parts} (estimate), {over} more than the {limit} allowed; busiest layer: {binding}.",
}


def text_check(
    model: Model, judged: Sequence[Judged], primary: Judged, every_board: bool, left_out: Sequence[str]
) -> Iterator[str]:
    """The lines of a check. `primary` is the one of `judged` that findings and timeline are about; `every_board` says
    that all boards of the table were asked for, except those `left_out`, which ST's runtime does not support."""
    graph, plan = model.graph, plan_on(model.graph, primary)
    yield from dict.fromkeys(f"tier {one.report.tier} judges: {one.reason}" for one in judged)
    if every_board:
        yield (
            f"smallest board that fits: {primary.board.name} ({SMALLEST})"
            if primary.fits
            else f"no board of the table fits; what is told below is told for {primary.board.name}, the largest"
        )
    if left_out:
        yield f"left out, as ST Edge AI does not support them: {', '.join(left_out)}"
    yield ""
    report = primary.report
    yield (
        f"{model.path.name}: {len(graph.operators)} operators, {report.macs:,} MACs, input "
        f"{_tensors(graph, graph.inputs)}, output {_tensors(graph, graph.outputs)}, graph {report.graph_fingerprint}"
    )
    tools = dict.fromkeys(
        f"{one.report.tool} {one.report.tool_version}, {one.report.QUANTIZATION}, margin {one.report.margin:.0%} on "
        "activations"
        for one in judged
    )
    yield from (f"figures by {tool}" for tool in tools)
    yield ""
    yield from _verdicts(sorted(judged, key=lambda one: (not one.fits, size(one))) if every_board else judged)
    for one in [primary] if every_board else judged:
        if one.violations:
            yield ""
            yield from _findings(one)
    yield ""
    if report.tier not in _PLANNED_TIERS:
        yield "layers and timeline are by AutoMCU's planner; ST's tool fuses layers and places tensors its own way"
    yield from _layers(graph, plan)
    yield ""
    yield from text_timeline(graph, plan, primary.arena_limit_bytes)


def _findings(judged: Judged) -> Iterator[str]:
    yield f"why {judged.board.name} does not fit:"
    for violation in judged.violations:
        yield from _wrapped(sentence(violation), "  ")
        for change in violation.changes:
            outcome = "and everything fits" if change.fits else "not enough alone"
            told = f"{change.text}: {_figure(violation.resource, change.value)}, {outcome}"
            yield from _wrapped(f"cheaper: {told}", "    ")
        if not violation.changes and judged.report.tier in GRAPH_TIERS:
            yield "    no fewer channels in one layer would lower it"


def _wrapped(text: str, indent: str) -> list[str]:
    return wrap(
        text,
        _COLUMNS,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def sentence(violation: Violation) -> str:
    """A violation as a sentence for people."""
    return _SENTENCES[violation.resource].format(
        value=_figure(violation.resource, violation.value),
        over=_figure(violation.resource, violation.over),
        limit=_figure(violation.resource, violation.limit),
        binding=violation.binding,
        parts=violation.parts and f" = {violation.parts}",
    )


def _figure(resource: Resource, value: int) -> str:
    match resource:
        case "latency":
            return f"{value / 1000:,.1f} ms"
        case "macs":
            return f"{value:,} MACs"
        case _:
            return f"{value:,} B"


def json_check(
    model: Model, judged: Sequence[Judged], primary: Judged, every_board: bool, left_out: Sequence[str]
) -> dict[str, Any]:
    """The object that `--json` prints: the figures of `primary` at the top, and all boards under `boards` when there
    are several. Arguments as for `text_check`. Keys: docs/check.md."""
    plan = plan_on(model.graph, primary)
    fitting = [one for one in judged if one.fits]
    document: dict[str, Any] = {
        "model": str(model.path),
        **_facts(primary),
        "fits": bool(fitting) if every_board else len(fitting) == len(judged),
        "lower_bound_bytes": plan.lower_bound_bytes,
        "in_place_add_bytes": plan_on(model.graph, primary, in_place_add=True).arena_bytes,
    }
    if every_board:
        document["smallest_board"] = primary.board.name if primary.fits else None
        document["left_out"] = list(left_out)
    if every_board or len(judged) > 1:
        document["boards"] = [_facts(one) for one in judged]
    return document


def _facts(judged: Judged) -> dict[str, Any]:
    report = judged.report
    return {
        "board": judged.board.name,
        "fits": judged.fits,
        **asdict(report),
        "quantization": report.QUANTIZATION,
        "ram_bytes": report.ram_bytes,
        "flash_bytes": report.flash_bytes,
        "ram_limit_bytes": judged.budget.ram_bytes,
        "flash_limit_bytes": judged.budget.flash_bytes,
        "latency_estimate_ms": latency_ms(judged),
        "violations": [asdict(violation) | {"over": violation.over} for violation in judged.violations],
        "reason": judged.reason,
    }


def latency_ms(judged: Judged) -> float | None:
    """The estimate of an inference in milliseconds; None where there is none."""
    cycles = judged.report.cycles
    return None if cycles is None else round(1000 * cycles / judged.board.clock_hz, 3)


def text_boards(boards: Sequence[Board]) -> Iterator[str]:
    """The table of boards, sizes in KiB as data sheets have them."""
    titles = (
        "board",
        "part",
        "core",
        "MHz",
        "RAM KiB",
        "largest",
        "for network",
        "Flash KiB",
        "for network",
        "ST target",
    )
    sizes = [
        (_ram_total_bytes(board), board.ram_bytes, board.free_ram_bytes, board.flash_bytes, board.free_flash_bytes)
        for board in boards
    ]
    rows = [
        (
            board.name,
            board.part,
            _core(board),
            str(board.clock_hz // 10**6),
            *(f"{size / 1024:,.5g}" for size in row),
            board.stedgeai_target or "none",
        )
        for board, row in zip(boards, sizes, strict=True)
    ]
    yield from _table(titles, rows, "<<<>>>>>><")
    yield "KiB of 1,024 bytes; the arena must lie in one region of RAM: the largest counts, less the board's reserve"


def json_boards(boards: Sequence[Board]) -> list[dict[str, Any]]:
    """The boards as objects, with the derived figures of the table."""
    return [
        asdict(board)
        | {
            "ram_total_bytes": _ram_total_bytes(board),
            "ram_bytes": board.ram_bytes,
            "free_ram_bytes": board.free_ram_bytes,
            "flash_bytes": board.flash_bytes,
            "free_flash_bytes": board.free_flash_bytes,
        }
        for board in boards
    ]


def _verdicts(judged: Sequence[Judged]) -> Iterator[str]:
    rows = []
    for one in judged:
        report, budget = one.report, one.budget
        margin = f"*{1 + report.margin:.2f}" if report.margin else ""
        latency = latency_ms(one)
        rows.append(
            (
                one.board.name,
                _core(one.board),
                _kb(report.ram_bytes),
                f"= {_kb(report.activations_bytes)}{margin} + {_kb(report.runtime_ram_bytes)}",
                f"of {_kb(budget.ram_bytes)}",
                _kb(report.flash_bytes),
                f"= {_kb(report.weights_bytes)} + {_kb(report.code_bytes)}",
                f"of {_kb(budget.flash_bytes)}",
                "-" if latency is None else f"{latency:,.0f} ms" if latency >= 10 else f"{latency:.1f} ms",
                "yes" if one.fits else "no: " + ", ".join(violation.resource for violation in one.violations),
            )
        )
    titles = (
        "board",
        "core",
        "RAM",
        "= act. + runtime",
        "limit",
        "Flash",
        "= weights + code",
        "limit",
        "latency",
        "fits",
    )
    yield from _table(titles, rows, "<<><<><<><")
    yield "RAM and Flash in KB of 1,000 bytes; latency is estimated from the kinds of layers and the core"


def _layers(graph: Int8Graph, plan: MemoryPlan) -> Iterator[str]:
    cost, alive = costs(graph), alive_bytes(graph, plan)
    heaviest = max(range(len(alive)), key=cost.weights_bytes.__getitem__)
    busiest = max(range(len(alive)), key=cost.macs.__getitem__)
    rows = []
    for index, operator in enumerate(graph.operators):
        marks = [
            mark
            for mark, where in (
                ("RAM peak", plan.binding_operator),
                ("most weights", heaviest),
                ("most MACs", busiest),
            )
            if where == index
        ]
        rows.append(
            (
                str(index),
                operator.kind,
                short_name(operator.name),
                "x".join(map(str, graph.tensors[operator.output].shape[1:])),
                f"{cost.macs[index]:,}",
                f"{cost.weights_bytes[index]:,}",
                f"{alive[index]:,}",
                ", ".join(marks),
            )
        )
    rows.append(
        ("", "all", "", "", f"{cost.total_macs:,}", f"{cost.total_weights_bytes:,}", f"{plan.arena_bytes:,}", "arena")
    )
    yield from _table(("#", "operator", "layer", "output", "MACs", "weights B", "alive B", ""), rows, "><<<>>><")


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], alignment: str) -> Iterator[str]:
    """Aligned columns; `alignment` has a character of `<` and `>` for each."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for row in (titles, *rows):
        cells = (f"{cell:{side}{width}}" for cell, side, width in zip(row, alignment, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _tensors(graph: Int8Graph, indices: Sequence[int]) -> str:
    told = [f"{'x'.join(map(str, graph.tensors[i].shape[1:]))} {graph.tensors[i].dtype}" for i in indices[:3]]
    return " + ".join(told) + (f" + {len(indices) - 3} more" if len(indices) > 3 else "")


def _ram_total_bytes(board: Board) -> int:
    return sum(region.size_bytes for region in board.regions if region.kind == "ram")


def _core(board: Board) -> str:
    return board.core.removeprefix("cortex-").upper()


def _kb(count: int) -> str:
    return f"{count / 1000:,.1f}"
