"""The table of boards: the files of `conf/board`, read without Hydra."""

from difflib import get_close_matches
from functools import cache
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from automcu.board import Board
from automcu.errors import ConfigError

FOLDER = Path(__file__).parent.parent / "conf" / "board"
"""One file a board, beside the package; a board is named like its file."""
_SIMILARITY = 0.5


def load_board(name: str) -> Board:
    """The board called `name`, written as in the table or as on the box: `nucleo_f446re`, `NUCLEO-F446RE`.

    Raises `ConfigError` when there is none, which names those that are spelt alike; and as `load_boards`.
    """
    boards = {board.name: board for board in load_boards()}
    key = name.strip().lower().replace("-", "_").replace(" ", "_")
    if key in boards:
        return boards[key]
    # A name may also be a part of one: f446 finds nucleo_f446re.
    alike = [known for known in boards if len(key) > 2 and key in known]
    alike += [known for known in get_close_matches(key, boards, 3, _SIMILARITY) if known not in alike]
    closest = f"did you mean {' or '.join(alike[:3])}? " if alike else ""
    raise ConfigError(f"no board is named {name!r:.60}; {closest}`automcu boards` lists all {len(boards)}")


@cache
def load_boards() -> tuple[Board, ...]:
    """All boards, by name. Raises `ConfigError` when a file cannot be read, or is no board."""
    paths = sorted(FOLDER.glob("*.yaml"))
    if not paths:
        raise ConfigError(f"no board files in {FOLDER}; install AutoMCU from a checkout (pip install -e .)")
    adapter = TypeAdapter(Board)
    return tuple(_read(path, adapter) for path in paths)


def _read(path: Path, adapter: TypeAdapter[Board]) -> Board:
    try:
        board = adapter.validate_python(yaml.safe_load(path.read_text("utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror}); check its permissions") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigError(f"{path}: {where}: {first['msg'].lower()}; correct the file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML ({' '.join(str(error).split())[:120]}); correct the file") from None
    if board.name != path.stem:
        raise ConfigError(f"{path} names the board {board.name!r}; give file and board the same name")
    return board
