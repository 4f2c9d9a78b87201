"""The board table: every file of `conf/board`, names as users write them, and errors that help."""

from pathlib import Path

import pytest

from automcu import board_table
from automcu.board_table import load_board, load_boards
from automcu.errors import ConfigError


def test_the_table_holds_every_file_by_name() -> None:
    assert [board.name for board in load_boards()] == sorted(path.stem for path in board_table.FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", ["nucleo_f446re", "NUCLEO-F446RE", "Nucleo F446RE", " nucleo_f446re "])
def test_names_are_taken_as_users_write_them(name: str) -> None:
    board = load_board(name)
    assert (board.name, board.part, board.ram_bytes) == ("nucleo_f446re", "STM32F446RET6", 131_072)


@pytest.mark.parametrize(
    ("name", "closest"),
    [("nucleo_f447re", "nucleo_f446re"), ("f446", "nucleo_f446re"), ("B-L475E-IOT1A", "b_l475e_iot01a")],
)
def test_an_unknown_board_is_told_its_like(name: str, closest: str) -> None:
    with pytest.raises(ConfigError, match=rf"did you mean .*{closest}.*automcu boards"):
        load_board(name)


@pytest.mark.parametrize("name", ["", "zzzzzzzz", "x" * 10_000])
def test_a_name_like_none_is_told_where_the_list_is(name: str) -> None:
    with pytest.raises(ConfigError, match=r"no board is named [^?]*; `automcu boards` lists all \d+$") as error:
        load_board(name)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: mine\npart: [", "no YAML"),
        ("name: mine\n", "part: field required"),
        ("42", "the file: "),
        ("name: other\npart: P\ncore: cortex-m4f\nclock_hz: 1\nreset_clock_hz: 1\nregions:\n- {name: f, kind: flash, "
         "address: 0, size_bytes: 1}\n- {name: r, kind: ram, address: 1, size_bytes: 1}\nreserved_ram_bytes: 0\n"
         "reserved_flash_bytes: 0\nstedgeai_target: null\nopenocd: null\nset_up: []\nuart: {kind: stm32_v1, "
         "address: 0, clock_hz: 1}\nsource: s\n", "the same name"),
    ],
)  # fmt: skip
def test_a_bad_file_is_named(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    monkeypatch.setattr(board_table, "FOLDER", tmp_path)
    load_boards.cache_clear()
    try:
        with pytest.raises(ConfigError, match=message) as error:
            load_boards()
    finally:
        load_boards.cache_clear()
    assert "mine.yaml" in str(error.value)
