import numpy as np
import pytest

from automcu.nasbench.known import known
from automcu.nasbench.report import markdown, page, plot, results
from automcu.nasbench.summary import Runs, reached, summary
from automcu.nasbench.table import place
from tests.nasbench.tables import counting

TABLE = counting()


def cell(convolutions: int, rest: str = "skip_connect") -> int:
    return place(("nor_conv_3x3",) * convolutions + (rest,) * (6 - convolutions))


def runs(method: str, *seeds: list[int]) -> Runs:
    places = np.array([[-1 if one < 0 else cell(one) for one in seed] for seed in seeds])
    return Runs(method, TABLE, places, np.append(TABLE.validation_200, np.nan)[places])


def test_best_so_far_regret_and_the_chosen_networks_test_accuracy() -> None:
    one = runs("random", [1, 3, 2, 6], [2, -1, 0, 4])
    np.testing.assert_allclose(one.validation, [[0.2, 0.4, 0.4, 0.7], [0.3, 0.3, 0.3, 0.5]])
    np.testing.assert_allclose(one.regret[:, -1], [0.0, 0.2])
    np.testing.assert_allclose(one.test(3), [0.6, 0.5])
    np.testing.assert_allclose(one.test(4), [0.9, 0.7])
    assert TABLE.best_validation == pytest.approx(0.7) and TABLE.chosen_test == pytest.approx(0.9)


def test_what_the_search_was_told_is_best_is_what_it_found() -> None:
    places = np.array([[cell(1), cell(6), cell(3), cell(3)]])
    misled = Runs("random", TABLE, places, np.array([[np.nan, 0.1, 0.8, 0.8]]))
    np.testing.assert_array_equal(misled.found, [[-1, cell(6), cell(3), cell(3)]])
    np.testing.assert_allclose(misled.validation, [[0.0, 0.7, 0.4, 0.4]])
    np.testing.assert_allclose(misled.test(4), [0.6])


def test_known_figures_stand_beside_ones_own() -> None:
    random, local = runs("random", *[[1] * 9 + [6]] * 3), runs("local_search", [0, 6])
    heading, *lines = known([random, local])
    assert heading[2] == "known"
    assert lines == [
        ["random, 10 queries, test %", "cifar10", "93.0", "90.00 +- 0.00"],
        ["local_search, median queries to the optimum", "cifar10", "about 65", "2"],
        ["best in validation, test %", "cifar10", "94.37", "90.00"],
    ]
    assert known([]) == []


def test_queries_until_so_much_of_the_optimum() -> None:
    one = runs("random", [1, 3, 5, 6], [6, 0, 0, 0], [0, 0, 0, 1])
    np.testing.assert_array_equal(one.queries_to(1.0), [4, 1, np.inf])
    np.testing.assert_array_equal(one.queries_to(0.5), [2, 1, np.inf])
    assert reached([one])["random", "cifar10"][2] == (1.0, 4.0, pytest.approx(2 / 3))


def test_a_search_that_begins_with_what_is_invalid_has_found_nothing_yet() -> None:
    one = runs("random", [-1, -1, 2])
    np.testing.assert_allclose(one.validation, [[0.0, 0.0, 0.3]])
    np.testing.assert_allclose(one.test(2), [0.0])


def test_means_spreads_and_the_paired_test() -> None:
    rng = np.random.default_rng(0)
    found = rng.integers(0, 5, (40, 10))
    control = runs("random", *found.tolist())
    better = runs("local_search", *(found + 1).tolist())
    by_method = {row.method: row for row in summary([control, better], [10])}
    assert by_method["local_search"].regret_mean == pytest.approx(by_method["random"].regret_mean - 10)
    assert by_method["local_search"].test_mean == pytest.approx(by_method["random"].test_mean + 10)
    assert by_method["local_search"].p_random is not None and by_method["local_search"].p_random < 1e-6
    assert by_method["random"].p_random is None and by_method["random"].p_local_search is not None
    assert by_method["random"].seeds == 40
    (alone,) = summary([control], [10, 20])  # there are no 20 queries
    assert alone.p_random is None and alone.p_local_search is None
    (same, _) = summary([runs("evolution", *found.tolist()), control], [10])
    assert same.p_random == 1.0


def test_the_report_says_it_all() -> None:
    two = [runs("random", [1, 2, 3], [0, 0, 4]), runs("local_search", [6, 6, 6], [-1, 5, 6])]
    tables = results(two)
    text = markdown(tables, "Two seeds.")
    assert "| local_search | 3 | 2 | 90.00 | 0.00 | 0.000 | 0.000 |" in text
    assert "| random | cifar10 | never (0%) |" in text
    png = plot(two)
    assert png.startswith(b"\x89PNG")
    whole = page(tables, "a < b", png)
    assert "a &lt; b" in whole and whole.count("<table>") == 2 and "http" not in whole
