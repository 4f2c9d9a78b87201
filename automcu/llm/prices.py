"""What a model costs a token, from the price list that comes with litellm: read as a file, as importing litellm takes
seconds. No network."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_FILE = "model_prices_and_context_window_backup.json"


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a token that goes in, and for one that comes out."""

    usd_in: float
    usd_out: float


def price_of(model: str) -> Price | None:
    """The price of what litellm calls `model`, None where the list has none. A price of nothing is none: that is how
    the list holds models that run on one's own machine."""
    prices = _list()
    entry = prices.get(model) or prices.get(model.partition("/")[2]) or {}
    usd_in, usd_out = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
    return Price(usd_in, usd_out) if usd_in and usd_out else None


@cache
def _list() -> dict[str, Any]:
    found = find_spec("litellm")
    if found is None or found.origin is None:
        return {}
    try:
        prices: dict[str, Any] = json.loads((Path(found.origin).parent / _FILE).read_bytes())
    except (OSError, ValueError):  # another litellm than the pinned one
        return {}
    return prices
