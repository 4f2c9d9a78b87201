"""ColabNAS (Garavagno et al. 2024, arXiv:2212.07700): two integers, and a rule by which they grow.

A network is a convolution of k filters and c cells, each a max pooling and a convolution, whose widths grow by factors
of 2, 1.5, 1.25 and so on; then global average pooling and a hidden dense layer as wide as the last cell. For one k, c
grows from 0 as long as each network is better than the one before. k begins at 4 and doubles as long as its best one
is better (from 16 on, by more than half a point); where 8 is no better than 4, it is halved instead.

The networks are points of `mcu_cnn`, with the widths nearest to those of the original, and so at most four cells. It
waits for the score of what it has proposed; what does not fit scores less than anything that does.
"""

import math
from collections.abc import Generator, Iterator, Sequence

from automcu.architecture import Architecture
from automcu.errors import ConfigError, InvalidArchitecture
from automcu.finished import Deployed, Evaluated, Failed, Finished, Rejected, Skipped, Stopped
from automcu.messages import RoundPlan
from automcu.proposal import Proposal, ProposalItem
from automcu.proposers.niches import accuracy
from automcu.spaces.mcu_cnn.description import CHOICES, NAME, ConvStage, McuCnn
from automcu.spaces.space import Space

FIRST_WIDTH = 4
GAIN = 0.005
_NOTHING_YET = -1.0
_UNFIT = -3.0
_WIDTHS = CHOICES[ConvStage]["channels"]
_HIDDEN = [units for units in CHOICES[McuCnn]["hidden_units"] if units]

Growth = Generator[tuple[int, int], float, float]
"""Asks for the score of k and c; in the end the best there was."""


class ColabNAS:
    """See the module. Raises `ConfigError` for another space than `mcu_cnn`."""

    name = "colabnas"

    def __init__(self, space: Space) -> None:
        if space.name != NAME:
            raise ConfigError(f"ColabNAS has networks of its own, which are points of space {NAME}; choose that")
        self._space = space
        self._scores: dict[str, float] = {}
        self._growth = _growth()
        self._wanted: tuple[int, int] | None = next(self._growth)
        self._proposed: str | None = None

    def propose(self, count: int, plan: RoundPlan | None = None) -> Iterator[ProposalItem]:
        """The next network, none while the last one has not come back or when the growth has ended."""
        if count < 1:
            return
        while self._wanted is not None:
            architecture = self._network(*self._wanted)
            if architecture is not None and architecture.fingerprint not in self._scores:
                if architecture.fingerprint != self._proposed:
                    self._proposed = architecture.fingerprint
                    yield Proposal(architecture, "{}:k={},c={}".format(self.name, *self._wanted))
                return
            try:
                self._wanted = self._growth.send(self._scores[architecture.fingerprint] if architecture else _UNFIT)
            except StopIteration:
                self._wanted = None

    def observe(self, finished: Sequence[Finished]) -> None:
        """Takes note of the scores."""
        for end in finished:
            match end:
                case Evaluated() | Deployed() | Stopped():
                    score = accuracy(end)
                case Rejected() | Failed() | Skipped():
                    score = _UNFIT
            self._scores[end.candidate.architecture.fingerprint] = score

    def _network(self, filters: int, cells: int) -> Architecture | None:
        """None where the maps are too small for so many cells."""
        width, growth = filters, 2.0
        stages = [_convolution(filters)]
        for cell in range(1, cells + 1):
            width, growth = math.ceil(width * growth), growth - 2**-cell
            stages += {"block": "max_pool", "kernel": 2}, _convolution(width)
        try:
            return self._space.parse({"stages": stages, "hidden_units": _nearest(_HIDDEN, width)})
        except InvalidArchitecture:
            return None


def _convolution(width: int) -> dict[str, object]:
    channels = _nearest(_WIDTHS, width)
    return {"block": "conv", "channels": channels, "kernel": 3, "stride": 1, "repeats": 1, "activation": "relu"}


def _nearest(choices: Sequence[int], wanted: int) -> int:
    return min(choices, key=lambda choice: abs(choice - wanted))


def _growth() -> Growth:
    """The rule for k."""
    best = yield from _growth_of_cells(FIRST_WIDTH)
    filters = 2 * FIRST_WIDTH
    wider = yield from _growth_of_cells(filters)
    least = 0.0
    if wider > best:
        while wider > best + least:
            best, filters, least = wider, 2 * filters, GAIN
            wider = yield from _growth_of_cells(filters)
        return best
    narrower, filters = best, FIRST_WIDTH
    while narrower >= best and filters > 1:
        best, filters = narrower, filters // 2
        narrower = yield from _growth_of_cells(filters)
    return max(best, narrower)


def _growth_of_cells(filters: int) -> Growth:
    """The rule for c."""
    best, cells = _NOTHING_YET, 0
    while (score := (yield filters, cells)) > best:
        best, cells = score, cells + 1
    return best
