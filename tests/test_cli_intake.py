"""`automcu intake` as a user meets it: the table, the questions, the command that runs it."""

import json
import os
import pty
import shlex
import subprocess
import sys

import pytest

from automcu.agents.words import MAX_CHARS
from tests.command_line import ROOT, Capture, refused, run, told

WORDS = "CIFAR-10 on a NUCLEO-F446RE with 64 KB of RAM and 128 KiB of flash, 100 ms, $2"


def test_what_is_understood_and_how_to_run_it(capsys: Capture) -> None:
    code, text = told(capsys, "intake", WORDS)
    assert code == 0
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines() if line.startswith("  ")}
    assert rows["task"] == 'cifar10 "CIFAR-10"'
    assert rows["ram"] == '64 KB = 62.5 KiB "64 KB"'
    assert rows["flash"] == '131.072 KB = 128 KiB "128 KiB"'
    assert rows["minutes"] == "as configured"
    assert text.splitlines()[-1] == (
        "Run it: python -m automcu.launch task=cifar10 training=cifar board=nucleo_f446re budget.ram_kb=64 "
        "budget.flash_kb=131.072 budget.latency_ms=100.0 budget.usd=2.0"
    )


def test_the_command_composes_to_the_limits_that_were_asked_for(capsys: Capture) -> None:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from automcu.config import read_config

    _, text = told(capsys, "intake", "--json", WORDS)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        composed = OmegaConf.to_container(compose("config", json.loads(text)["arguments"]), resolve=True)
    assert isinstance(composed, dict)
    config = read_config({str(key): value for key, value in composed.items()})
    asked = config.budget
    assert (config.task.name, config.board.name) == ("cifar10", "nucleo_f446re")
    assert (asked.ram_kb, asked.flash_kb, asked.latency_ms, asked.usd) == (64, 131.072, 100, 2)


def test_what_is_open_is_listed_and_the_code_is_1(capsys: Capture) -> None:
    code, text = told(capsys, "intake", "digits on an STM32F4 with 64 KB")
    assert code == 1 and "Run it" not in text
    assert '  board: "STM32F4" can be any of these. Which board?' in text
    assert "1) nucleo_f401re, 2) nucleo_f411re" in text and "1) RAM 64 KB, 2) Flash 64 KB, 3) neither" in text


def test_for_machines(capsys: Capture) -> None:
    code, text = told(capsys, "intake", "--json", "digits on an STM32F446 with 64 KB")
    body = json.loads(text)
    assert code == 1 and body["arguments"] is None and body["brief"]["board"] == "nucleo_f446re"
    assert [point["key"] for point in body["brief"]["open_points"]] == ["ram"]
    code, text = told(capsys, "intake", "--json", WORDS)
    assert code == 0 and json.loads(text)["arguments"][0] == "task=cifar10"


def on_a_terminal(words: str, typed: str) -> tuple[int, str]:
    """Exit code and output of the command with a terminal as its input, on which `typed` is typed."""
    main, terminal = pty.openpty()
    try:
        os.write(main, typed.encode())
        done = subprocess.run(
            [sys.executable, "-m", "automcu.cli", "intake", words],
            stdin=terminal, capture_output=True, text=True, timeout=60, cwd=ROOT,
        )  # fmt: skip
    finally:
        os.close(main)
        os.close(terminal)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_terminal_is_asked_what_is_open() -> None:
    words = "the smallest network for handwritten digits on an STM32F4, 64 KB"
    code, text = on_a_terminal(words, "2\nF446RE\nRAM 48 KiB\n1\n")
    assert code == 0
    assert shlex.split(text.splitlines()[-1])[-4:] == [
        "task=mnist", "training=digits", "board=nucleo_f446re", "budget.ram_kb=49.152"
    ]  # fmt: skip


@pytest.mark.parametrize("typed", ["\n", "\x04", "nonsense\n" * 16])
def test_a_terminal_is_not_asked_for_ever(typed: str) -> None:
    code, text = on_a_terminal("digits with 64 KB", typed)
    assert code == 1 and "Still open" in text


def test_words_that_cannot_be_read(capsys: Capture) -> None:
    assert "the request is empty" in refused(capsys, "intake", " ")
    assert "say it in 8,000 at most" in refused(capsys, "intake", "a" * (MAX_CHARS + 1))
    assert "WORDS" in refused(capsys, "intake")


def test_words_cannot_steer_the_terminal(capsys: Capture) -> None:
    code, text = told(capsys, "intake", "digits on \x1b]0;owned\x07 an STM32F4 \x1b[2J with 64\x1b[8m KB")
    assert code == 1 and all(line.isprintable() for line in text.splitlines())


def test_no_heavy_import() -> None:
    code = (
        "import sys; from automcu.cli import main; main(['intake', 'digits on an F446RE']);"
        "sys.exit(', '.join(m for m in ('torch', 'ray', 'litellm', 'tensorflow', 'hydra') if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert run("--help").stdout.count("intake") >= 1


@pytest.mark.parametrize(
    ("name", "told_what"),
    [
        ("nosuch", "no model is named 'nosuch'; choose one of: anthropic, deepseek"),
        ("../task/digits", "no model is named '../task/digits'"),
        ("openai_compatible", "leaves a value open"),
        ("vllm", "served to a search only"),
        ("none", "needs a language model"),
    ],
)
def test_a_model_that_cannot_be_asked_is_refused(capsys: Capture, name: str, told_what: str) -> None:
    assert told_what in refused(capsys, "intake", WORDS, "--llm", name)


def test_a_model_without_its_key_leaves_the_reading_to_code(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEEPSEEK_API_KEY", raising=False)
    code, text = told(capsys, "intake", WORDS, "--llm", "deepseek")
    assert code == 0 and text.splitlines()[-1].startswith("Run it: python -m automcu.launch task=cifar10")
