"""One conversion process for all tests of this room: starting tensorflow takes about ten seconds."""

from collections.abc import Iterator

import pytest

from automcu.export.converter import Converter


@pytest.fixture(scope="session")
def converter() -> Iterator[Converter]:
    with Converter(threads=1, time_limit_s=120) as made:
        yield made
