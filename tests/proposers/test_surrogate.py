from statistics import mean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern

from automcu.architecture import Candidate
from automcu.board import Violation
from automcu.finished import Rejected
from automcu.proposal import Proposal, Proposer
from automcu.proposers import surrogate
from automcu.proposers.gaussian_process import GaussianProcess, Model
from automcu.proposers.random_search import RandomSearch
from automcu.proposers.starters import Starters
from automcu.proposers.surrogate import SurrogateSearch
from automcu.spaces.mcu_cnn import McuCnnSpace
from automcu.spaces.nasbench201 import NasBench201Space
from tests import builders
from tests.contracts.proposer import ProposerContract
from tests.proposers.grid_space import GridSpace
from tests.proposers.test_evolution import tight
from tests.proposers.test_local_search import ended, walk

MCU = McuCnnSpace((32, 32, 3), 10)


class TestSurrogateSearch(ProposerContract):
    space = NasBench201Space((32, 32, 3), 10)

    def make(self, seed: int) -> Proposer:
        return SurrogateSearch(self.space, seed)


class TestWithStarters(ProposerContract):
    space = MCU

    @pytest.fixture(autouse=True)
    def few_candidates(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(surrogate, "POOL", 20)
        monkeypatch.setattr(surrogate, "PARENTS", 1)

    def make(self, seed: int) -> Proposer:
        return with_starters(seed)


def with_starters(seed: int) -> SurrogateSearch:
    forecast = tight(MCU)
    return SurrogateSearch(MCU, seed, forecast, Starters(MCU.families(), forecast))


def test_it_beats_chance() -> None:
    def best(make: type[SurrogateSearch] | type[RandomSearch]) -> float:
        return mean(max(accuracy for _, accuracy in walk(make(GridSpace(), seed), 30)) for seed in range(4))

    assert best(SurrogateSearch) > best(RandomSearch) + 0.05


def test_it_begins_with_starters_and_proposes_only_what_is_forecast_to_fit() -> None:
    proposer, forecast = with_starters(0), tight(MCU)
    begun = [item for item in proposer.propose(8) if isinstance(item, Proposal)]
    assert [item.origin for item in begun] == [f"surrogate:start({name})" for name in MCU.families()]
    proposer.observe([ended(i, item.architecture, 0.5 + i / 100) for i, item in enumerate(begun[1:])])
    tight_flash = (Violation("flash", 1, 2, "layer"),)
    proposer.observe([Rejected(Candidate(9, begun[0].architecture, ""), builders.report(), tight_flash)])
    (again,) = proposer.propose(8)
    assert isinstance(again, Proposal) and again.origin == "surrogate:start(plain)"
    after = [item for item in proposer.propose(2) if isinstance(item, Proposal)]
    assert [item.origin for item in after] == ["surrogate:expected improvement"] * 2
    assert after[0] != after[1]
    assert not any(forecast.broken(item.architecture) for item in (again, *after))


def test_what_is_still_trained_is_not_proposed_again_nor_its_twin() -> None:
    proposer = SurrogateSearch(GridSpace(), 3)
    told = walk(proposer, 12)
    at_once = [item.architecture for item in proposer.propose(6) if isinstance(item, Proposal)]
    assert len(set(at_once)) == 6
    assert not {item.architecture for item, _ in told} & set(at_once)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.integers(0, 100))
def test_the_model_is_finite_whatever_the_scores(scores: list[float], seed: int) -> None:
    features = np.random.default_rng(seed).integers(0, 3, (len(scores), 4)).astype(float)
    model = Model(features, scores)
    for _ in range(2):
        improvement = model.expected_improvement(features + 0.5)
        assert np.isfinite(improvement).all() and (improvement >= 0).all()
        model.believe(features[:1] + 1)


@given(st.integers(2, 30), st.integers(1, 5), st.sampled_from([0.3, 1.0, 4.0]), st.sampled_from([0.003, 0.3]))
def test_the_process_is_what_scikit_learn_computes(rows: int, columns: int, scale: float, noise: float) -> None:
    rng = np.random.default_rng(rows)
    known, asked, values = rng.normal(size=(rows, columns)), rng.normal(size=(9, columns)), rng.normal(size=rows)
    ours = GaussianProcess.fitted(known, values, [scale], [noise])
    theirs = GaussianProcessRegressor(Matern(scale, nu=1.5), alpha=noise, optimizer=None).fit(known, values)
    mean, deviation = theirs.predict(asked, return_std=True)
    assert ours.mean(asked) == pytest.approx(mean, abs=1e-8) and ours.deviation(asked) == pytest.approx(
        deviation, abs=1e-6
    )
    constant = rows / 2 * np.log(2 * np.pi)
    assert ours.log_likelihood - constant == pytest.approx(theirs.log_marginal_likelihood_value_)
    best = GaussianProcess.fitted(known, values, [0.3, 1.0, 4.0], [0.003, 0.3])
    assert best.log_likelihood >= ours.log_likelihood


@pytest.mark.parametrize("at", [0.0, 3.0])
def test_improvement_is_expected_beside_what_is_good_rather_than_beside_what_is_bad(at: float) -> None:
    places = np.linspace(0, 3, 7)[:, None]
    model = Model(places, list(1 - np.abs(places[:, 0] - at) / 10))
    improvement = model.expected_improvement(np.array([[at + (0.1 if at == 0 else -0.1)], [1.6], [3.1 - at]]))
    assert improvement.argmax() == 0
