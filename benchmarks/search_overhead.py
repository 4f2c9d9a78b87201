"""What the supervisor itself costs per candidate, when every stage is a dummy that takes no time.

    python -m benchmarks.search_overhead [--candidates 1000] [--repeats 5]

Search, journal (on disk, flushed per event) and progress lines run as in a real run; all candidates go through all
stages (proposal, check, training, evaluation). Printed: milliseconds per candidate, median and range of the repeats.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from automcu.architecture import Architecture
from automcu.journal import VERSION, Header, Journal
from automcu.proposal import Proposal
from automcu.report.progress import Progress
from automcu.results import Deployment, EpochPoint, Evaluation, FeasibilityReport, TestResult, TrialResult
from automcu.search import Limits, Search, drive
from automcu.work import (
    STAGES,
    Check,
    Checked,
    Deploy,
    DeployDone,
    Evaluate,
    EvaluationDone,
    Outcome,
    ProposalsEnded,
    Propose,
    Proposed,
    Stage,
    Test,
    TestDone,
    Train,
    Trained,
    Work,
)

REPORT = FeasibilityReport("0" * 16, 1, 1, 1, 1, 1, "a", "a", "a", "dummy", "dummy", "0", "any", 0.0)


class DummyExecutor:
    """Every stage returns at once."""

    def __init__(self) -> None:
        self.waiting: list[Work] = []
        self.proposed = 0

    def room(self) -> Mapping[Stage, int]:
        """Two of everything."""
        return dict.fromkeys(STAGES, 2)

    def submit(self, work: Work) -> None:
        """Keep it for `wait`."""
        self.waiting.append(work)

    def wait(self) -> Sequence[Outcome]:
        """All outcomes at once."""
        work, self.waiting = self.waiting, []
        return [outcome for piece in work for outcome in self.outcomes(piece)]

    def outcomes(self, work: Work) -> Sequence[Outcome]:
        """Facts of plausible size."""
        match work:
            case Propose(count):
                numbers = range(self.proposed, self.proposed + count)
                self.proposed += count
                offers = [Proposal(Architecture.of("dummy", {"n": n, "text": "x" * 500}), "dummy") for n in numbers]
                return [*map(Proposed, offers), ProposalsEnded(0.0)]
            case Check(candidate):
                return [Checked(candidate.id, REPORT, (), 0.0)]
            case Train(candidate):
                curve = tuple(EpochPoint(epoch, 1.0, 0.5, 1.0) for epoch in range(1, 9))
                return [Trained(candidate.id, TrialResult(curve, "completed", 0, 1.0))]
            case Evaluate(candidate):
                return [EvaluationDone(candidate.id, Evaluation(0.5, 0.5, 1, 0.0, 1, "", REPORT, None, 0.0))]
            case Test():
                return [TestDone(work.candidate.id, TestResult(0.5, 0.5, 1, "dummy", 0.0))]
            case Deploy():
                return [DeployDone(work.candidate.id, Deployment("dummy", "best", 1, 1, "", 0.0))]


def measure(candidates: int) -> float:
    """Seconds per candidate of one run."""
    limits = Limits(3600, candidates, candidates, batch=8, lookahead=8, finish_share=0.1, attempts=2)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()

        def clock() -> float:
            return time.perf_counter() - began

        search = Search(limits, clock)
        journal = Journal(Path(folder) / "journal.jsonl", clock)
        journal(Header(VERSION, {}, 0, None, {}))
        lines: list[str] = []
        drive(search, DummyExecutor(), (journal, Progress(search, clock, lines.append)))
        journal.close()
        assert search.funnel.evaluated == candidates
        return clock() / candidates


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    measure(50)  # warms up the serialisers
    for candidates in (asked.candidates, 10 * asked.candidates):
        times = sorted(1000 * measure(candidates) for _ in range(asked.repeats))
        print(
            f"{candidates:,} candidates: {statistics.median(times):.3f} ms per candidate "
            f"({times[0]:.3f} to {times[-1]:.3f}, {asked.repeats} runs)"
        )


if __name__ == "__main__":
    main()
