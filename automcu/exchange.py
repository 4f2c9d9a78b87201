"""One call of a language model, as the journal keeps it: enough to account for it and to replay it."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["intake", "supervisor", "proposal", "training", "evaluation", "deploy"]
"""The agent roles; each has a conversation, a memory, a budget and a stream of exchanges of its own."""

CANCELLED = "given up: whoever listened had heard enough"
"""The `error` of a call that was ended from this side while the reply was still coming."""

TOO_LONG = "the prompt is too long for"
"""What the `error` of a call begins with that the model's context had no room for."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call, whether or not a usable reply came: `error` is empty, or the sentence that says why none did.

    Tokens are the provider's count; `tokens_cached` of `tokens_in` were read from its cache. `usd` is None when the
    price is unknown. `level` is how structure was asked for: `schema`, `json` or `prompt`. `finish` is the provider's
    finish reason. `temperature` and `seed` are what was asked for, None where the model takes none. `date` is the UTC
    time of the call in ISO 8601. `request_sha256` and `message_hashes` are those of `automcu.llm.client`.
    """

    role: Role
    model: str
    request_sha256: str
    reply: str
    finish: str
    level: str
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    usd: float | None
    seconds: float
    temperature: float | None
    seed: int | None
    date: str
    error: str
    message_hashes: tuple[str, ...] = ()
