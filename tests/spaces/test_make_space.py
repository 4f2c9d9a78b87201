"""The registry of search spaces."""

import pytest

from automcu.errors import ConfigError
from automcu.spaces import make_space


def test_makes_a_space_for_the_task():
    space = make_space("mcu_cnn", (28, 28, 1), 10)
    assert (space.name, space.input_shape, space.class_count) == ("mcu_cnn", (28, 28, 1), 10)


@pytest.mark.parametrize(
    ("name", "input_shape", "class_count", "reason"),
    [
        ("mcu_rnn", (28, 28, 1), 10, "choose one of: mcu_cnn"),
        ("mcu_cnn", (28, 28, 1), 1, "at least 2"),
        ("mcu_cnn", (0, 28, 1), 10, "empty"),
        ("mcu_cnn", (40_000, 40_000, 3), 10, "multiply-accumulates"),
        ("mcu_cnn", (28, 28, 1), 10_000_000, "parameters"),
    ],
)
def test_refuses_in_a_sentence(name, input_shape, class_count, reason):
    with pytest.raises(ConfigError, match=reason):
        make_space(name, input_shape, class_count)
