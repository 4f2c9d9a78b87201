"""The inline executor keeps the executor contract, and is deterministic."""

from pathlib import Path

from automcu.executors.blueprint import Blueprint, RunEnd
from automcu.executors.inline import run_inline
from automcu.finished import Finished
from automcu.run_folder import RunFolder
from automcu.search import Limits
from tests.contracts.executor import HEADER, LIMITS, FailureContract, blueprint, data


class TestInline(FailureContract):
    def run(self, blueprint: Blueprint, limits: Limits, folder: Path) -> RunEnd:
        return run_inline(blueprint, limits, HEADER, RunFolder(folder), data(), lambda: 0.0, lambda line: None)

    def test_the_same_seed_gives_the_same_candidates_and_verdicts(self, tmp_path: Path) -> None:
        def verdict(end: Finished) -> tuple[str, str]:
            return type(end).__name__, end.candidate.architecture.text

        first, second = (
            {number: verdict(end) for number, end in self.run(blueprint(), LIMITS, tmp_path / name).finished.items()}
            for name in ("a", "b")
        )
        assert first == second
