"""What the language models of a run may cost, before it; what they and the stages did cost, after it."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from automcu.exchange import Role
from automcu.ledger import Calls, Costs
from automcu.llm.prices import Price
from automcu.search import Funnel, Limits
from automcu.work import Stage

SCHEMA_VERSION = 2
ONE_IN = 10
"""The estimate's upper end holds while at least one proposal in so many fits."""
_CHARS_PER_TOKEN = 4.0, 3.0  # of English, and of JSON, which has more tokens a character
_REPLY_SHARE = 0.02, 1.0  # of the longest reply allowed: picks from a menu are short
_PROMPT_GROWTH = 1.0, 2.0  # prompts hold what was tried, in a compact form
_STAGE_NAMES: Mapping[Stage, str] = {
    "propose": "proposing",
    "check": "checking",
    "train": "training",
    "evaluate": "converting and measuring",
    "test": "testing",
    "deploy": "deploying",
}


# Before the start ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Expected:
    """What a role may ask of its model in a run: from `least_calls` to `most_calls`, of which the first has a prompt of
    `prompt_chars` characters; later ones may hold `memory_chars` of earlier turns as well. A reply is at most
    `max_tokens` long. `price` is None when it is unknown."""

    role: Role
    model: str
    least_calls: int
    most_calls: int
    prompt_chars: int
    memory_chars: int
    max_tokens: int
    price: Price | None


def expected_calls(role: Role, limits: Limits, warm_start: int = 0, patience: int = 0) -> tuple[int, int]:
    """At least and at most how many calls a role makes in a whole run: at least when every proposal fits, at most when
    one in `ONE_IN` does and each reply needs its repair. A hybrid's model makes the first `warm_start` proposals and is
    asked again after `patience` trained candidates without gain; 0 is no hybrid."""
    trained = limits.max_trained
    least = ceil(trained / limits.batch)
    most = ceil(min(trained * ONE_IN, limits.max_proposals) / limits.batch)
    match role:
        case "proposal" if patience:
            warm = ceil(warm_start / limits.batch)
            return warm, 2 * (warm + trained // patience)
        case "proposal":
            return least, 2 * most
        case "supervisor":
            return least, 2 * most
        case "training":  # also for the candidates that wait for a trial in vain
            return 1, 2 * (trained + limits.lookahead)
        case "evaluation":
            return 1, 2 * trained
        case _:
            return 1, 2


def estimate(expected: Sequence[Expected], tokens_cap: int | None, usd_cap: float | None) -> str:
    """One line for the screen. The caps are those of the budget."""
    calls = [sum(ends) for ends in zip(*((one.least_calls, one.most_calls) for one in expected), strict=True)]
    ranges = [_tokens(one) for one in expected]
    tokens = [_rounded(sum(map(sum, ends))) for ends in zip(*ranges, strict=True)]
    prices = [one.price for one in expected if one.price is not None]
    money = "price unknown"
    if len(prices) == len(expected):
        least, most = (
            sum(price.usd_in * tokens_in + price.usd_out * tokens_out
                for price, (tokens_in, tokens_out) in zip(prices, ends, strict=True))
            for ends in zip(*ranges, strict=True)
        )  # fmt: skip
        money = f"USD {_dollars(least)} to {_dollars(most)}"
    caps = [] if tokens_cap is None else [f"{tokens_cap:,} tokens (budget.tokens)"]
    caps += [] if usd_cap is None else [f"USD {usd_cap:g} (budget.usd)"]
    return (
        f"Language models: {_span(*calls)} calls of {', '.join(dict.fromkeys(one.model for one in expected))}, about "
        f"{_span(*tokens)} tokens, {money}, while one proposal in {ONE_IN} fits; "
        + (f"never more than {' or '.join(caps)}" if caps else "no cap, which budget.tokens or budget.usd would set")
    )


def _tokens(one: Expected) -> tuple[tuple[float, float], tuple[float, float]]:
    """Tokens in and out of a role, at least and at most."""
    least, most = (
        (
            calls * (one.prompt_chars * _PROMPT_GROWTH[end] + one.memory_chars * end) / _CHARS_PER_TOKEN[end],
            calls * one.max_tokens * _REPLY_SHARE[end],
        )
        for end, calls in enumerate((one.least_calls, one.most_calls))
    )
    return least, most


def _rounded(count: float) -> int:
    """To two digits: an estimate has no more."""
    return round(round(count), 2 - len(str(round(count))))


def _span(least: int, most: int) -> str:
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


# After the end ------------------------------------------------------------------------------------------------------
def costs_lines(costs: Costs, funnel: Funnel, seconds: float) -> list[str]:
    """What the language models cost, for the screen; nothing when none was asked."""
    total = costs.total
    if not total.calls:
        return []
    failed = f", {total.failed} of them failed" if total.failed else ""
    shares = [
        f"{total.tokens / count:,.0f} a {name}"
        for name, count in (
            ("fitting design", funnel.feasible),
            ("trained one", funnel.trained),
            ("deployed one", funnel.deployed),
        )
        if count
    ]
    lines = [
        f"Language models: {total.calls} calls{failed}; {total.tokens_in:,} tokens in ({total.tokens_cached:,} cached) "
        f"and {total.tokens_out:,} out: {', '.join(shares) or 'no design fits'}; "
        f"{'price unknown' if total.usd is None else f'USD {_dollars(total.usd)}'}.",
    ]
    for role in costs.roles:
        if role.down_seconds:
            lines.append(
                f"The {role.role} agent's model gave nothing usable for {role.down_seconds / 60:.1f} of "
                f"{seconds / 60:.1f} minutes"
                + (f"; code made {costs.substitutes} proposals in its place." if role.role == "proposal" else ".")
            )
    return lines


def costs_section(costs: Costs, funnel: Funnel, seconds: float) -> list[str]:
    """The section of `summary.md`, in lines of Markdown."""
    lines = ["## Costs", ""]
    if costs.roles:
        lines += [
            "| role | calls | failed | tokens in | of these cached | tokens out | USD | waited s | model down s |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
            *(_markdown_row(role.role, role.calls, f"{role.down_seconds:,.1f}") for role in costs.roles),
            *([_markdown_row("all", costs.total, "")] if len(costs.roles) > 1 else []),
            "",
        ]
    else:
        lines += ["No language model was asked.", ""]
    spent = dict(costs.stage_seconds)
    work = [f"{name} {spent[stage]:,.1f}" for stage, name in _STAGE_NAMES.items() if stage in spent]
    return [*lines, f"Seconds of work, added up over all processes: {', '.join(work) or 'none'}.", ""]


def _markdown_row(name: str, calls: Calls, down: str) -> str:
    usd = "unknown" if calls.usd is None else _dollars(calls.usd)
    return (
        f"| {name} | {calls.calls} | {calls.failed} | {calls.tokens_in:,} | {calls.tokens_cached:,} | "
        f"{calls.tokens_out:,} | {usd} | {calls.seconds:,.1f} | {down} |"
    )


def _dollars(usd: float) -> str:
    """To a cent, or to two digits when it is less than one."""
    return f"{usd:,.2f}" if usd >= 1 or not usd else f"{usd:.2g}"


def costs_table(costs: Costs, funnel: Funnel, seconds: float) -> bytes:
    """A Parquet file with a row per role that asked a language model, and one for the run (role `all`), which alone has
    the counts of the funnel, the wall seconds and the seconds of the stages. A role has the models that answered, and
    the UTC dates of its first and last call. `usd` is null when it is unknown. The schema's version is in the file's
    metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    calls = ("calls", "failed_calls", "tokens_in", "tokens_out", "tokens_cached")
    counts = ("proposed", "invalid", "duplicate", "feasible", "rejected", "trained", "evaluated", "deployed")
    stages = {f"{stage}_seconds": stage for stage in _STAGE_NAMES}
    columns = {"role": pa.string(), **dict.fromkeys(("models", "first", "last"), pa.string())}
    columns |= dict.fromkeys(calls, pa.int64())
    columns |= dict.fromkeys(("usd", "llm_seconds", "down_seconds"), pa.float64())
    columns |= dict.fromkeys((*counts, "substitutes", "replies", "unreadable"), pa.int64())
    columns |= dict.fromkeys(("seconds", *stages), pa.float64())
    spent = dict(costs.stage_seconds)
    run = {name: getattr(funnel, name) for name in counts}
    run |= {name: getattr(costs, name) for name in ("substitutes", "replies", "unreadable")} | {"seconds": seconds}
    run |= {name: spent.get(stage, 0.0) for name, stage in stages.items()}
    rows = [
        _row(role.role, role.calls)
        | {"down_seconds": role.down_seconds, "models": ", ".join(role.models), "first": role.first, "last": role.last}
        for role in costs.roles
    ]
    rows.append(_row("all", costs.total) | run)
    schema = pa.schema(list(columns.items()), metadata={"automcu_schema_version": str(SCHEMA_VERSION)})
    sink = io.BytesIO()
    pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in columns}, schema=schema), sink)
    return sink.getvalue()


def _row(name: str, calls: Calls) -> dict[str, Any]:
    row = asdict(calls)
    return row | {"role": name, "failed_calls": row["failed"], "llm_seconds": row["seconds"], "seconds": None}
