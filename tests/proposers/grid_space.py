"""A small real search space whose best point is known: eight digits from 0 to 7, neighbours differ by one step."""

from collections.abc import Iterator, Mapping, Sequence
from random import Random

from automcu.architecture import Architecture
from automcu.errors import InvalidArchitecture
from automcu.graph.network import Dense, Network

DIGITS = 8
BASE = 8


class GridSpace:
    name = "grid"
    input_shape = (4, 4, 1)
    class_count = 2
    json_schema: Mapping[str, object] = {
        "type": "object",
        "properties": {"digits": {"type": "array", "items": {"enum": list(range(BASE))}}},
        "required": ["digits"],
        "additionalProperties": False,
    }

    def describe(self) -> str:
        return f"An object with digits: a list of {DIGITS} integers from 0 to {BASE - 1}."

    def summary(self, architecture: Architecture) -> str:
        return "digits " + "".join(map(str, digits_of(architecture)))

    def describe_edit(self, before: Architecture, after: Architecture) -> str:
        pairs = enumerate(zip(digits_of(before), digits_of(after), strict=True))
        return ", ".join(f"digit {place}: {old} -> {new}" for place, (old, new) in pairs if old != new)

    def build(self, architecture: Architecture) -> Network:
        return Network(self.input_shape, (Dense("head", "input", self.class_count, "none"),))

    def parse(self, description: object) -> Architecture:
        if not isinstance(description, dict) or set(description) != {"digits"}:
            raise InvalidArchitecture("not an object with the one key digits; give exactly that")
        digits = description["digits"]
        if not isinstance(digits, list) or len(digits) != DIGITS:
            raise InvalidArchitecture(f"digits: not a list of {DIGITS}; give {DIGITS} integers")
        for index, digit in enumerate(digits):
            if type(digit) is not int or not 0 <= digit < BASE:
                raise InvalidArchitecture(f"digits[{index}]: not an integer from 0 to {BASE - 1}; choose one")
        return self.of(digits)

    def random(self, rng: Random) -> Architecture:
        return self.of([rng.randrange(BASE) for _ in range(DIGITS)])

    def neighbours(self, architecture: Architecture, rng: Random) -> Iterator[Architecture]:
        digits = digits_of(architecture)
        steps = [(place, step) for place in range(DIGITS) for step in (-1, 1) if 0 <= digits[place] + step < BASE]
        rng.shuffle(steps)
        for place, step in steps:
            yield self.of([digit + step * (i == place) for i, digit in enumerate(digits)])

    def smallest(self) -> Architecture:
        return self.of([0] * DIGITS)

    def features(self, architecture: Architecture) -> Sequence[float]:
        return digits_of(architecture)

    def families(self) -> Mapping[str, Sequence[Sequence[Architecture]]]:
        return {}

    @classmethod
    def of(cls, digits: list[int]) -> Architecture:
        return Architecture.of("grid", {"digits": digits})


def digits_of(architecture: Architecture) -> list[int]:
    return [int(digit) for digit in architecture.text if digit.isdigit()]
