"""Where a model that a run serves for itself answers."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible endpoint at `api_base` that serves `model` to whoever knows `key`. The key lives as long as
    the run and is shown nowhere."""

    model: str
    api_base: str
    key: str = field(repr=False)
