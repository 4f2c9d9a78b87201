import json
import random
from pathlib import Path

import pytest

from automcu.architecture import Architecture, Candidate
from automcu.errors import ConfigError
from automcu.finished import Skipped
from automcu.proposal import Proposal, Proposer
from automcu.proposers.given import Given, given
from automcu.spaces.mcu_cnn import McuCnnSpace
from tests.contracts.proposer import ProposerContract

SPACE = McuCnnSpace((32, 32, 3), 10)


def drawn(seed: int, count: int) -> list[Architecture]:
    rng = random.Random(seed)
    return [SPACE.random(rng) for _ in range(count)]


class TestGiven(ProposerContract):
    space = SPACE

    def make(self, seed: int) -> Proposer:
        return Given(drawn(seed, 30))


def test_files_are_proposed_in_order_and_what_has_been_tried_is_not_again(tmp_path):
    architectures = drawn(0, 5)
    files = [tmp_path / f"{number}.json" for number in range(5)]
    for file, architecture in zip(files, architectures, strict=True):
        file.write_text(json.dumps({"space": SPACE.name, "description": json.loads(architecture.text), "extra": 1}))
    proposer = given(SPACE, files)
    assert list(proposer.propose(2)) == [Proposal(one, "given") for one in architectures[:2]]
    afresh = given(SPACE, files)
    afresh.observe([Skipped(Candidate(1, architectures[0], "given"), "train")])
    assert [item.architecture for item in afresh.propose(9)] == architectures[1:]
    assert list(afresh.propose(9)) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b"{}", b'{"space": "other", "description": {}}', b'{"space": "mcu_cnn"}', b"[" * 100_000],
)
def test_a_file_that_holds_no_architecture_is_told_by_name(content, tmp_path):
    file = tmp_path / "broken.json"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"broken\.json holds no architecture"):
        given(SPACE, [file])


def test_no_file_at_all():
    with pytest.raises(ConfigError, match="missing"):
        given(SPACE, [Path("missing.json")])
    with pytest.raises(ConfigError, match=r"proposer\.architectures"):
        given(SPACE, [])
