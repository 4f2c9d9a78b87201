"""The price list that comes with litellm."""

import subprocess
import sys

import pytest

from automcu.llm.prices import Price, price_of


@pytest.mark.parametrize("model", ["gpt-4o-mini", "openai/gpt-4o-mini"])
def test_a_listed_model_has_its_price_with_or_without_its_provider(model: str) -> None:
    assert price_of(model) == Price(1.5e-07, 6e-07)


@pytest.mark.parametrize("model", ["", "/", "none", "openai/none", "ollama/llama3", "sample_spec"])
def test_what_is_not_listed_or_runs_at_home_has_none(model: str) -> None:
    assert price_of(model) is None


def test_it_is_read_without_litellm() -> None:
    code = "import sys; from automcu.llm.prices import price_of; price_of('x'); sys.exit('litellm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
