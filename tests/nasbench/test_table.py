"""The table against published figures, and what is refused."""

import itertools
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from automcu.errors import DataError, InvalidArchitecture
from automcu.graph.network import Conv, Layer, sources
from automcu.nasbench.isomorphism import canonical, equations
from automcu.nasbench.isomorphism import text_of as text_of_sum
from automcu.nasbench.table import FILE, Table, load_tables, place
from automcu.spaces.nasbench201 import EDGES, OPERATIONS, cell_of, computes, network_of, text_of
from tests.nasbench.tables import REAL, needs_table

CELLS = list(itertools.product(OPERATIONS, repeat=len(EDGES)))


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    return dict(load_tables(REAL))


@needs_table
def test_the_optima_are_the_published_ones(tables) -> None:
    best = {name: (100 * table.best_validation, 100 * table.chosen_test) for name, table in tables.items()}
    assert best["cifar10"] == pytest.approx((91.6067, 94.3733), abs=1e-3)
    assert best["cifar100"] == pytest.approx((73.4933, 73.5133), abs=1e-3)
    assert best["imagenet16_120"] == pytest.approx((46.7333, 46.20), abs=5e-3)


@needs_table
def test_a_cell_has_what_the_benchmarks_own_printout_says(tables) -> None:
    # Index 5 in the official example, see the data folder's README.
    row = pq.read_table(REAL, columns=["index", "arch_str"]).to_pylist()[5]
    assert row["index"] == 5
    cell = cell_of(row["arch_str"])
    found = [
        (table.validation(cell, 12), table.validation(cell), table.test_200[place(cell)]) for table in tables.values()
    ]
    expected = [(0.7358, 0.8781, 0.9109), (0.4398, 0.6623, 0.6630), (0.2650, 0.3788, 0.3874)]
    np.testing.assert_allclose(found, expected, atol=6e-5)
    assert tables["cifar100"].seconds_200[place(cell)] == pytest.approx(3984.972, abs=1e-3)


@needs_table
def test_loading_is_quick_and_small() -> None:
    code = (
        "import resource, sys, time; from pathlib import Path; import numpy, pyarrow.parquet\n"
        "from automcu.nasbench.table import load_tables\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; start = time.process_time()\n"
        "load_tables(Path(sys.argv[1]))\n"
        "print(time.process_time() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000)"
    )
    told = subprocess.run([sys.executable, "-c", code, str(REAL)], capture_output=True, text=True, check=True).stdout
    seconds, megabytes = map(float, told.split())
    assert seconds < 3  # half a second on a quiet machine
    assert megabytes < 200


def test_every_cell_has_a_place_of_its_own_and_a_text_that_is_read_back() -> None:
    assert sorted(map(place, CELLS)) == list(range(15_625))
    assert all(cell_of(text_of(cell)) == cell for cell in CELLS[::17])


NO_CELLS = [
    "",
    "|none~0|",
    "nor_conv_3x3",
    "|none~0|+|none~0|none~1|+|none~0|none~1|none~3|",
    "|a~0|+|a~0|a~1|+|a~0|a~1|a~2|",
    "|none~0|+|none~0|none~1|+|none~0|none~1|none~2",
    "|none~0~0|+|none~0|none~1|+|none~0|none~1|none~2|",
    "|" * 10_000,
]


@pytest.mark.parametrize("text", NO_CELLS)
def test_what_is_no_cell_is_refused_with_an_example(text) -> None:
    with pytest.raises(InvalidArchitecture, match=r"write one such as \|nor_conv_3x3~0"):
        cell_of(text)


def as_published(cell: tuple[str, ...]) -> str:
    """How the benchmark's authors write a cell to tell different ones apart: "#" for each term that is dropped."""
    nodes = ["0"]
    for node in (1, 2, 3):
        terms = []
        for (source, target), operation in zip(EDGES, cell, strict=True):
            if target == node:
                if operation == "none" or nodes[source] == "#":
                    terms.append("#")
                else:
                    terms.append(nodes[source] if operation == "skip_connect" else f"({nodes[source]})@{operation}")
        nodes.append("+".join(sorted(terms)))
    return nodes[3]


def network(cell: tuple[str, ...]) -> str:
    """The slow way to tell networks apart: the least of all ways to number a cell's convolutions."""
    output, convolutions = equations(cell)
    texts = []
    for order in itertools.permutations(convolutions):
        names = {number: f"#{place}" for place, number in enumerate(order)}
        lines = [f"{convolutions[number][0]}({text_of_sum(convolutions[number][1], names)})" for number in order]
        texts.append(f"{lines} {text_of_sum(output, names)}")
    return min(texts)


def test_cells_that_are_the_same_have_one_name_and_others_have_others() -> None:
    cells = [cell for cell in CELLS if sum("conv" in operation for operation in cell) <= 4]
    pairs = {(network(cell), canonical(cell)) for cell in cells}
    assert len({one for one, _ in pairs}) == len({other for _, other in pairs}) == len(pairs) > 1_000


def test_there_are_as_many_networks_as_documented() -> None:
    assert len(set(map(canonical, CELLS))) == 5_260
    # Dong and Yang 2020, section 2: their count keeps apart what is the same, and puts together one convolution that is
    # used twice and two of them.
    assert len(set(map(as_published, CELLS))) == 6_466


def test_a_convolution_used_twice_is_not_two_convolutions() -> None:
    twice = ("nor_conv_3x3", "none", "skip_connect", "none", "skip_connect", "skip_connect")
    two = ("nor_conv_3x3", "nor_conv_3x3", "none", "none", "skip_connect", "skip_connect")
    assert canonical(twice) == "#0 = nor_conv_3x3(in); #0 + #0"
    assert canonical(two) == "#0 = nor_conv_3x3(in); #1 = nor_conv_3x3(in); #0 + #1"


@needs_table
def test_cells_that_are_the_same_network_scored_alike(tables) -> None:
    scores: dict[str, list[float]] = {}
    for cell in CELLS:
        scores.setdefault(canonical(cell), []).append(tables["cifar10"].test_200[place(cell)])
    within = np.mean([np.ptp(same) for same in scores.values() if len(same) > 1])
    assert within < 0.1 * np.ptp([score for same in scores.values() for score in same])


def test_cells_that_are_the_same_are_built_with_the_same_convolutions() -> None:
    counts: dict[str, set[int]] = {}
    for cell in CELLS[::7]:
        if computes(cell):
            built = network_of(cell, (8, 8, 3), 10).layers
            useful = sum(isinstance(layer, Conv) for layer in used(built))
            counts.setdefault(canonical(cell), set()).add(useful)
    assert max(map(len, counts.values())) == 1 and len(counts) > 500


def used(layers: Sequence[Layer]) -> list[Layer]:
    """The layers that the last one depends on."""
    found, wanted = [], {layers[-1].name}
    for layer in reversed(layers):
        if layer.name in wanted:
            found.append(layer)
            wanted |= set(sources(layer))
    return found


@needs_table
@pytest.mark.parametrize("wrong", [[], [130.0], None, ["x"]])
def test_broken_lists_of_single_trainings_are_told(wrong, tmp_path) -> None:
    table = pq.read_table(REAL)
    name = "cifar10_valid_acc_200_seeds"
    values = table[name].to_pylist()
    values = [[str(one) for one in row] for row in values] if wrong == ["x"] else [wrong, *values[1:]]
    path = tmp_path / FILE
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, pa.array(values)), path)
    with pytest.raises(DataError, match="no list of accuracies"):
        load_tables(path)


@needs_table
@pytest.mark.parametrize("harm", ["column", "row", "twice", "text", "nan", "above", "words"])
def test_a_broken_table_is_told_before_any_search(harm, tmp_path) -> None:
    columns = [name for name in pq.read_schema(REAL).names if "seeds" not in name]
    table = pq.read_table(REAL, columns=columns)

    def with_column(name: str, values: list[object]) -> pa.Table:
        return table.set_column(table.schema.get_field_index(name), name, pa.array(values))

    accuracy, texts = table["cifar10_valid_acc_200"].to_pylist(), table["arch_str"].to_pylist()
    match harm:
        case "column":
            broken, told = table.drop_columns(["cifar100_test_acc_200"]), "lacks column cifar100_test_acc_200"
        case "row":
            broken, told = table.slice(1), "15,624 different cells"
        case "twice":
            broken, told = with_column("arch_str", [*texts[1:], texts[1]]), "15,624 different cells in 15,625"
        case "text":
            broken, told = with_column("arch_str", ["|x~0|", *texts[1:]]), "no cell of NAS-Bench-201"
        case "nan":
            broken, told = with_column("cifar10_valid_acc_200", [None, *accuracy[1:]]), "no accuracy"
        case "above":
            broken, told = with_column("cifar10_valid_acc_200", [123.0, *accuracy[1:]]), "no accuracy"
        case _:
            broken, told = with_column("cifar10_valid_acc_200", ["many"] * len(accuracy)), "no numbers"
    path = tmp_path / FILE
    pq.write_table(broken, path)
    with pytest.raises(DataError, match=told):
        load_tables(path)


@pytest.mark.parametrize("content", [None, b"", b"PAR1 and so on"])
def test_what_is_no_parquet_is_refused(content, tmp_path) -> None:
    path = tmp_path / FILE
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        load_tables(path)
