"""The command `automcu`: does a model fit a board (`check`), run it there (`deploy`), are a bundle's claims true
(`verify`), what do plain words ask for (`intake`), and which boards there are (`boards`).

Exit code 0: yes; 1: no; 2: it could not be judged, told in one sentence on stderr (with `--json` also as
`{"error": ...}` on stdout); 130: interrupted. Heavy imports wait until they are needed.
"""

import io
import json
import math
import os
import re
import signal
import sys
import traceback
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, get_args

from automcu.errors import AutoMCUError, ConfigError, OutputError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    import numpy as np

    from automcu.agents.intake import Intake
    from automcu.architecture import Shape
    from automcu.check import Judged, Model
    from automcu.messages import Point

_BYTES_PER_KB = 1000  # as in the configuration
_LARGEST = 1e12
_MOST_QUESTIONS = 16
_OPTIONS = (
    (r"feasibility\.time_limit_seconds", "--time-limit"),
    (r"feasibility\.stedgeai", "--stedgeai"),
    (r"(?:feasibility\.tier|feasibility)=", "--tier "),
    (r"deploy\.runtime=", "--runtime "),
)
"""Keys of a run's configuration, as errors name them, and what they are called on this command line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default this process's; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of layers may be in any script
            stream.reconfigure(errors="backslashreplace")
    if arguments is None:  # in a process of its own, to be ended is to be interrupted: nothing is left behind
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(given)
    except KeyboardInterrupt:
        return 130


def _run(given: Sequence[str]) -> int:
    code = 2
    try:
        asked = _parser().parse_args(given)
        code, lines = asked.run(asked)
        _print(lines)
    except BrokenPipeError:  # the reader has seen enough, as in `| head`
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain at exit
    except AutoMCUError as error:
        return _fail(str(error), given)
    except MemoryError:
        return _fail("not enough memory to judge this model; give a smaller one", given)
    except OSError as error:
        return _fail(f"cannot write ({error.strerror}); free disk space, or write elsewhere", given)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        return _fail(f"internal error, {type(error).__name__} at {place}; please report it with this command", given)
    return code


def _fail(message: str, given: Sequence[str]) -> int:
    """Tell an error, with what this command line calls things; returns the exit code."""
    for key, option in _OPTIONS:
        message = re.sub(key, option, message)
    with suppress(OSError):
        if "--json" in given:
            _print([json.dumps({"error": message})])
    with suppress(OSError):
        print(_printable(f"automcu: {message}"), file=sys.stderr, flush=True)
    return 2


def _print(lines: Iterable[str]) -> None:
    if told := "\n".join(map(_printable, lines)):
        print(told, flush=True)


def _printable(line: str) -> str:
    """`line` without control characters, which names in a hostile file may hold."""
    return line if line.isprintable() else "".join(c if c.isprintable() else "?" for c in line)


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; `{self.prog} --help` lists what can be given")


def _parser() -> ArgumentParser:
    from automcu import __version__
    from automcu.feasibility.choice import Runtime, TierName

    parser = _Parser(
        prog="automcu", description="int8 networks on STM32 boards: do they fit, and do they run?", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"automcu {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    check = commands.add_parser(
        "check",
        help="judge a model against one board, several, or all",
        description="Judge a model against boards. Exit code 0: it fits every board named (with all: at least one); "
        "1: it does not; 2: it could not be judged. See docs/check.md.",
        allow_abbrev=False,
    )
    check.add_argument("model", metavar="MODEL", help="an int8 .tflite file, or a bundle's architecture.json")
    check.add_argument("--board", action="append", required=True, metavar="NAME", help="repeatable; all: every board")
    check.add_argument("--input", type=_shape, metavar="HxWxC", help="input of an architecture, such as 32x32x3")
    check.add_argument("--classes", type=_count, metavar="N", help="number of classes of an architecture")
    check.add_argument("--tier", choices=get_args(TierName), default="auto", help="what judges (auto)")
    check.add_argument("--runtime", choices=get_args(Runtime), default="automcu", help="whose runtime (automcu)")
    check.add_argument("--tool-version", metavar="V", help="of ST Edge AI, for st_estimate and st_cloud")
    check.add_argument("--stedgeai", default="stedgeai", metavar="PATH", help="ST Edge AI's program (found on PATH)")
    check.add_argument("--time-limit", type=_positive, default=120.0, metavar="S", help="for one report (120 s)")
    check.add_argument("--ram-kb", type=_kilobytes, metavar="KB", help="allow less RAM than the board has")
    check.add_argument("--flash-kb", type=_kilobytes, metavar="KB", help="allow less Flash (KB of 1,000 bytes)")
    check.add_argument("--macs", type=_count, metavar="N", help="most multiply-accumulates")
    check.add_argument("--latency-ms", type=_positive, metavar="MS", help="longest inference, by the estimate")
    check.add_argument("--plot", type=_png, metavar="FILE.png", help="draw the memory timeline")
    check.add_argument("--json", action="store_true", help="print one JSON object")
    check.set_defaults(run=_check)

    _add_deploy(commands)
    verify = commands.add_parser(
        "verify",
        help="check every claim of a bundle again",
        description="Check every claim of a bundle again: its bytes, that it fits its board, that model and firmware "
        "give the expected outputs, and its accuracy where the data set is at hand. Exit code 0: no claim fails; 1: "
        "one does; 2: there is no bundle. See docs/deploy.md.",
        allow_abbrev=False,
    )
    verify.add_argument("bundle", metavar="BUNDLE", help="the folder or the zip file of a bundle")
    verify.add_argument(
        "--data", metavar="PATH", help="where data sets are looked for first, or images of your own are"
    )
    verify.add_argument("--json", action="store_true", help="print one JSON object")
    verify.set_defaults(run=_verify)

    intake = commands.add_parser(
        "intake",
        help="turn plain words into the command that runs them",
        description="Read what a network is to do, on which board and within which limits, from plain words; print "
        "what was understood and the command that runs it. On a terminal it asks what is open. Exit code 0: nothing "
        "is open; 1: something is; 2: nothing could be read. See docs/agents.md.",
        allow_abbrev=False,
    )
    intake.add_argument("words", metavar="WORDS", help='such as "CIFAR-10 on a NUCLEO-F446RE with 64 KB of RAM"')
    intake.add_argument("--llm", metavar="NAME", help="a model of conf/llm, asked about what rules leave open")
    intake.add_argument("--json", action="store_true", help="print one JSON object, and ask nothing")
    intake.set_defaults(run=_intake)

    resume = commands.add_parser(
        "resume",
        help="go on with a run that was stopped",
        description="Go on with a run that was stopped or killed: what its journal tells is not done again, and a "
        "training goes on from its last epoch. Exit codes as of automcu.launch.",
        allow_abbrev=False,
    )
    resume.add_argument("run_folder", metavar="RUN", type=Path, help="the folder of the run")
    resume.set_defaults(run=_resume)

    bench = commands.add_parser("bench", help="compare runs", description="Compare runs.", allow_abbrev=False)
    benches = bench.add_subparsers(required=True, metavar="WHAT")
    leaderboard = benches.add_parser(
        "leaderboard",
        help="runs side by side, by who proposed and which model was asked",
        description="What the runs below a folder, such as that of a multirun, came to: accuracy, how many proposals "
        "were valid and fit, tokens, dollars, seconds. Runs that failed are counted and named. See "
        "docs/comparisons.md.",
        allow_abbrev=False,
    )
    leaderboard.add_argument(
        "places", metavar="DIR", type=Path, nargs="+", help="a folder with run folders below it, or a file of --save"
    )
    leaderboard.add_argument(
        "--by", metavar="SETTING", nargs="*", help="of the settings that differ, tell runs apart by these only"
    )
    leaderboard.add_argument("--save", metavar="FILE.parquet", type=Path, help="keep the runs, a row each")
    leaderboard.add_argument("--json", action="store_true", help="print one JSON object")
    leaderboard.set_defaults(run=_leaderboard)
    joint = benches.add_parser(
        "nasbench201",
        help="several comparisons on NAS-Bench-201 as one, such as a multirun over language models",
        description="Tables and curves of all comparisons below a folder, methods that asked a model by its name; "
        "written into that folder, and printed. See docs/comparisons.md.",
        allow_abbrev=False,
    )
    joint.add_argument("folder", metavar="DIR", type=Path, help="a folder with comparisons below it")
    joint.set_defaults(run=_joint)
    convert = benches.add_parser(
        "convert",
        help="make the table of NAS-Bench-201 from the benchmark's own files",
        description="Make nasbench201.parquet from the files that NATS-Bench or NAS-Bench-201 published. See "
        "docs/comparisons.md.",
        allow_abbrev=False,
    )
    convert.add_argument("source", metavar="SOURCE", type=Path, help="NATS-tss-v1_0-3ffb9-simple, or another of them")
    convert.add_argument("target", metavar="FILE.parquet", type=Path, help="the table to write")
    convert.set_defaults(run=_convert)

    boards = commands.add_parser("boards", help="list the boards", description="List the boards.", allow_abbrev=False)
    boards.add_argument("--json", action="store_true", help="print a JSON list")
    boards.set_defaults(run=_boards)
    return parser


def _add_deploy(commands: "_SubParsersAction[_Parser]") -> None:
    from automcu.deploy.choice import KernelsName, LinkName, ToolchainName

    deploy = commands.add_parser(
        "deploy",
        help="build firmware of a model, run it on a board and compare every output",
        description="Build firmware of an int8 .tflite file, run it on a board (a virtual one by default), compare "
        "every output with tflite-micro's byte for byte, measure, and write a bundle. Exit code 0: it runs and every "
        "output is equal; 1: not so; 2: it could not be tried. See docs/deploy.md.",
        allow_abbrev=False,
    )
    deploy.add_argument("model", metavar="MODEL", help="an int8 .tflite file")
    deploy.add_argument("--board", required=True, metavar="NAME", help="`automcu boards` lists them")
    deploy.add_argument("--inputs", action="append", default=[], type=Path, metavar="X.npy",
                        help="samples in the input's type, one a row; repeatable, in the inputs' order")  # fmt: skip
    deploy.add_argument("--labels", type=Path, metavar="Y.npy", help="the true class of each sample")
    deploy.add_argument("--samples", type=_count, default=16, metavar="N", help="random samples without --inputs (16)")
    deploy.add_argument("--link", choices=get_args(LinkName), default="virtual", help="what board runs it (virtual)")
    deploy.add_argument("--port", metavar="TTY", help="of a real board; the only ST-LINK is found")
    deploy.add_argument("--flasher", default="auto", metavar="TOOL", help="for a real board, such as openocd")
    deploy.add_argument("--probe", metavar="SERIAL", help="serial number of a real board's probe")
    deploy.add_argument("--toolchain", choices=get_args(ToolchainName), default="zig", help="what compiles (zig)")
    deploy.add_argument("--kernels", choices=get_args(KernelsName), default="auto", help="by the core (auto)")
    deploy.add_argument("--keep-constant-channels", action="store_true",
                        help="do not leave out channels that cannot change any output")  # fmt: skip
    deploy.add_argument("--out", type=Path, metavar="DIR", help="write the bundle here, and DIR.zip")
    deploy.add_argument("--json", action="store_true", help="print one JSON object")
    deploy.set_defaults(run=_deploy)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= _LARGEST:
        raise ArgumentTypeError(f"{text!r:.40} is no number above 0, or too large")
    return number


def _kilobytes(text: str) -> int:
    return max(1, round(_positive(text) * _BYTES_PER_KB))


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,12}", text) or int(text) == 0:
        raise ArgumentTypeError(f"{text!r:.40} is no whole number above 0")
    return int(text)


def _shape(text: str) -> "Shape":
    found = re.fullmatch("([0-9]{1,4})x([0-9]{1,4})x([0-9]{1,4})", text.lower())
    if found is None or "0" in (extents := [str(int(extent)) for extent in found.groups()]):
        raise ArgumentTypeError(f"{text!r:.40} is no HEIGHTxWIDTHxCHANNELS, such as 32x32x3")
    return int(extents[0]), int(extents[1]), int(extents[2])


def _png(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() != ".png":
        raise ArgumentTypeError(f"{text!r:.80} is no name of a picture, such as timeline.png")
    if not path.parent.is_dir():
        raise ArgumentTypeError(f"the folder {str(path.parent)!r:.80} does not exist")
    return path


def _check(asked: Namespace) -> tuple[int, Iterable[str]]:
    from automcu.board_table import load_board, load_boards
    from automcu.check import Limits, explain, judge, largest, read_model, smallest_that_fits
    from automcu.feasibility.choice import TierSettings
    from automcu.report.check import json_check, text_check

    every_board = "all" in (name.lower() for name in asked.board)
    if every_board and len(asked.board) > 1:
        raise ConfigError("--board all takes every board; give it alone, or name boards without it")
    left_out: list[str] = []
    if every_board:
        by_st = asked.runtime == "st" or asked.tier in ("stedgeai", "st_cloud")
        boards = [board for board in load_boards() if board.stedgeai_target is not None or not by_st]
        left_out = [board.name for board in load_boards() if board not in boards]
    else:
        boards = list({board.name: board for board in map(load_board, asked.board)}.values())
    model = read_model(Path(asked.model), asked.input, asked.classes)
    limits = Limits(asked.ram_kb, asked.flash_kb, asked.macs, asked.latency_ms)
    settings = TierSettings(asked.stedgeai, asked.tool_version, asked.time_limit)
    judged = judge(model, boards, asked.tier, asked.runtime, settings, limits)
    if every_board:
        chosen = smallest_that_fits(judged) or largest(judged)
        judged = tuple(explain(model, one) if one is chosen else one for one in judged)
        fits = chosen.fits
    else:
        judged = tuple(explain(model, one) for one in judged)
        fits = all(one.fits for one in judged)
    primary = next(one for one in judged if not every_board or one.board == chosen.board)
    if asked.plot is not None:
        _draw(asked.plot, model, primary)
    if asked.json:
        return int(not fits), [json.dumps(json_check(model, judged, primary, every_board, left_out))]
    return int(not fits), text_check(model, judged, primary, every_board, left_out)


def _draw(path: Path, model: "Model", judged: "Judged") -> None:
    from automcu.check import plan_on
    from automcu.report.timeline import plot_timeline

    plan = plan_on(model.graph, judged)
    picture = plot_timeline(model.graph, plan, judged.arena_limit_bytes, model.path.name, judged.board.name)
    try:
        path.write_bytes(picture)
    except OSError as error:
        raise OutputError(f"cannot write {path} ({error.strerror}); give --plot a file that can be written") from error


def _deploy(asked: Namespace) -> tuple[int, Iterable[str]]:
    from automcu.board_table import load_board
    from automcu.check import read_model
    from automcu.deploy.boards.link import BoardFault, BoardHung
    from automcu.deploy.bundle import require_place, write_bundle
    from automcu.deploy.choice import ProverSettings, prover_for
    from automcu.deploy.deployer import DoesNotRun
    from automcu.deploy.own_model import deploy_model, read_array, require_classes
    from automcu.deploy.samples import pack_inputs, random_inputs
    from automcu.deploy.toolchain.toolchain import ImageTooLarge
    from automcu.report.deploy import heading, json_deployment, text_deployment

    board = load_board(asked.board)
    settings = ProverSettings(asked.link, asked.toolchain, asked.kernels, asked.keep_constant_channels, asked.port,
                              asked.flasher, asked.probe)  # fmt: skip
    prover = prover_for(board, settings)
    if asked.model.lower().endswith(".json"):
        raise ConfigError(f"{asked.model} is no .tflite file; train and convert the architecture first")
    if asked.out is not None:
        require_place(asked.out)
    model = read_model(Path(asked.model), None, None)
    inputs = (
        pack_inputs([read_array(path) for path in asked.inputs], model.graph)
        if asked.inputs
        else random_inputs(asked.samples, model.graph, seed=0)
    )
    labels = None if asked.labels is None else read_array(asked.labels)
    if labels is not None:
        require_classes(labels, model.graph, len(inputs))
    if not asked.json:
        _print([heading(board, model.path.name)])  # the first build for a core takes a while
    try:
        own = deploy_model(model.path.read_bytes(), _printable(model.path.name), board, prover, inputs, labels)
    except (ImageTooLarge, DoesNotRun, BoardFault, BoardHung) as failure:
        told = {"board": board.name, "failure": str(failure)}
        lines = [f"  Does not run: {failure}"]
        if isinstance(failure, ImageTooLarge):
            lines.append(f"  Which boards take it: automcu check {model.path} --board all")
        return 1, [json.dumps(told)] if asked.json else lines
    if asked.out is not None:
        write_bundle(asked.out, own.files)
    code = 2 if own.deployed.measurement is None else 0
    if asked.json:
        return code, [json.dumps(json_deployment(own, board, asked.out))]
    return code, text_deployment(own, board, asked.out)


def _verify(asked: Namespace) -> tuple[int, Iterable[str]]:
    from automcu.architecture import Task
    from automcu.deploy.verify import verify_bundle
    from automcu.report.deploy import json_findings, text_finding
    from automcu.training.data import data_roots, load_test
    from automcu.training.own_data import OwnData

    def test_images(task: Task) -> "tuple[np.ndarray, np.ndarray]":
        own = OwnData(Path(asked.data), fit=True) if task.dataset == "own" and asked.data else None
        test = load_test(task, data_roots(asked.data), own)
        return test.images, test.labels

    findings = []
    for finding in verify_bundle(Path(asked.bundle), test_images, processes=os.cpu_count() or 1):
        findings.append(finding)
        if not asked.json:
            _print([text_finding(finding)])
    code = int(any(finding.outcome == "fails" for finding in findings))
    return code, [json.dumps(json_findings(findings))] if asked.json else []


def _intake(asked: Namespace) -> tuple[int, Iterable[str]]:
    from automcu.agents.intake import Intake

    if asked.llm is None:
        return _taken_in(Intake(), asked)
    from automcu.build_agents import intake_with
    from automcu.config import read_llm

    with intake_with(read_llm(asked.llm)) as intake:
        taken = _taken_in(intake, asked)
        for notice in intake.notices():
            print(f"automcu: {notice.text}", file=sys.stderr)
    return taken


def _taken_in(intake: "Intake", asked: Namespace) -> tuple[int, Iterable[str]]:
    from automcu.report.intake import json_brief, text_brief, text_point

    answers: dict[Point, str] = {}
    brief = intake.read(asked.words)
    if not asked.json and sys.stdin.isatty():
        for _ in range(_MOST_QUESTIONS):
            if not brief.open_points:
                break
            point = brief.open_points[0]
            _print(text_point(point))
            answer = _answer(point.choices)
            if not answer:
                break
            answers[point.key] = answer
            brief = intake.read(asked.words, answers)
    code = int(bool(brief.open_points))
    return code, [json.dumps(json_brief(brief))] if asked.json else text_brief(brief)


def _answer(choices: Sequence[str]) -> str:
    """What the user types: a choice by its number, or words; empty to be asked no more."""
    try:
        typed = input("Its number, or words, with the unit of a figure; nothing to leave it open: ").strip()
    except EOFError:
        return ""
    if re.fullmatch("[0-9]{1,2}", typed) and 1 <= int(typed) <= len(choices):
        return choices[int(typed) - 1]
    return typed


def _resume(asked: Namespace) -> tuple[int, Iterable[str]]:
    from automcu.run import resume

    return resume(asked.run_folder.absolute()), ()


def _leaderboard(asked: Namespace) -> tuple[int, Iterable[str]]:
    from automcu.report.leaderboard import as_json, as_markdown, entries, save

    found = entries(*asked.places)
    if asked.save:
        save(found, asked.save)
    return 0, (as_json if asked.json else as_markdown)(found, asked.by).splitlines()


def _joint(asked: Namespace) -> tuple[int, Iterable[str]]:
    from automcu.bench import join_benchmarks

    return 0, join_benchmarks(asked.folder)


def _convert(asked: Namespace) -> tuple[int, Iterable[str]]:
    from automcu.nasbench.convert import convert

    count = convert(asked.source, asked.target)
    return 0, [f"{asked.target}: {count:,} cells"]


def _boards(asked: Namespace) -> tuple[int, Iterable[str]]:
    from automcu.board_table import load_boards
    from automcu.report.check import json_boards, text_boards

    boards = load_boards()
    return 0, [json.dumps(json_boards(boards))] if asked.json else text_boards(boards)


if __name__ == "__main__":
    sys.exit(main())
