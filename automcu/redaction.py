"""Keeps keys out of whatever is written or shown: values of the environment's secrets, and what looks like a key."""

import json
import os
import re
from functools import cache
from typing import Any

REDACTED = "[redacted]"
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_SECRET_FORM = r"(?i:\bsk-[\w-]{8,}|\bAIza[\w-]{20,}|(?<=bearer )[^\s'\"]+|(?<=[?&]key=)[^&\s'\"]+)"
_SHORTEST = 8


def redacted(text: str) -> str:
    """`text` without the values of the environment's secrets and without whatever looks like a key."""
    return _pattern(_secrets()).sub(REDACTED, text)


def redacted_json(document: bytes) -> bytes:
    """The same for the strings of a JSON document, whose structure stays as it is."""
    pattern = _pattern(_secrets())
    if not pattern.search(document.decode()):
        return document
    return json.dumps(_cleaned(json.loads(document), pattern), ensure_ascii=False).encode()


def _cleaned(value: Any, pattern: re.Pattern[str]) -> Any:
    match value:
        case str():
            return pattern.sub(REDACTED, value)
        case list():
            return [_cleaned(item, pattern) for item in value]
        case dict():
            return {key: _cleaned(item, pattern) for key, item in value.items()}
        case _:
            return value


def _secrets() -> tuple[str, ...]:
    """Values of the environment that must not be told, as they are and as they stand in JSON."""
    values = [v for name, v in os.environ.items() if len(v) >= _SHORTEST and _SECRET_NAME.search(name)]
    escaped = [json.dumps(value, ensure_ascii=ascii_only)[1:-1] for value in values for ascii_only in (True, False)]
    return tuple(dict.fromkeys([*values, *escaped]))


@cache
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str]:
    # Longest first: of two secrets of which one begins with the other, no rest stays behind.
    return re.compile("|".join([*map(re.escape, sorted(secrets, key=len, reverse=True)), _SECRET_FORM]))
