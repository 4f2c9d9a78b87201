"""The tree-structured Parzen estimator (Bergstra et al. 2011) of Optuna, constrained by what was rejected (arXiv
2211.14411): the baseline that a user of a general tuner would have.

The parameters are those of the space's JSON schema, walked by `_described`: Optuna knows nothing of networks, and meets
the limits only by what was rejected.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from automcu.errors import ConfigError, InvalidArchitecture
from automcu.finished import Deployed, Evaluated, Failed, Finished, Rejected, Skipped, Stopped
from automcu.messages import RoundPlan
from automcu.proposal import InvalidProposal, Proposal, ProposalItem
from automcu.proposers.history import excess
from automcu.proposers.niches import accuracy
from automcu.spaces.space import Space

if TYPE_CHECKING:
    import optuna

_LIMITS = "limits"


class TPESearch:
    """Asks Optuna for parameters and tells it how they scored. It may ask for the same architecture again, and for what
    is none of the space. Raises `ConfigError` where Optuna is not installed."""

    name = "tpe"

    def __init__(self, space: Space, seed: int) -> None:
        try:
            import optuna
        except ImportError:
            raise ConfigError("TPE needs Optuna; install automcu[benchmark]") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = space
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # `group`: stages that come and go
            sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._running: dict[str, optuna.trial.Trial] = {}
        self._scores: dict[str, tuple[float, float]] = {}
        """What a network came to, and by how much it broke the limits."""

    def propose(self, count: int, plan: RoundPlan | None = None) -> Iterator[ProposalItem]:
        """`count` items."""
        from optuna.trial import TrialState

        for _ in range(count):
            trial = self._study.ask()
            description = _described(self._space.json_schema, trial, "")
            try:
                architecture = self._space.parse(description)
            except InvalidArchitecture as error:
                self._study.tell(trial, state=TrialState.FAIL)
                yield InvalidProposal(str(description)[:2000], str(error))
                continue
            if architecture.fingerprint in self._scores:
                self._tell(trial, *self._scores[architecture.fingerprint])
            elif architecture.fingerprint in self._running:
                self._study.tell(trial, state=TrialState.FAIL)
            else:
                self._running[architecture.fingerprint] = trial
            yield Proposal(architecture, self.name)

    def observe(self, finished: Sequence[Finished]) -> None:
        """Scores, and by how much the limits were broken; what others proposed is none of Optuna's."""
        from optuna.trial import TrialState

        for end in finished:
            trial = self._running.pop(end.candidate.architecture.fingerprint, None)
            if trial is None:
                continue
            match end:
                case Evaluated() | Deployed() | Stopped():
                    score = accuracy(end), 0.0
                case Rejected(violations=violations):
                    score = 0.0, excess(violations)
                case Failed() | Skipped():
                    self._study.tell(trial, state=TrialState.FAIL)
                    continue
            self._scores[end.candidate.architecture.fingerprint] = score
            self._tell(trial, *score)

    def _tell(self, trial: "optuna.trial.Trial", score: float, excess: float) -> None:
        trial.set_constraint(_LIMITS, excess)
        self._study.tell(trial, score)


def _described(schema: Mapping[str, Any], trial: "optuna.trial.Trial", path: str) -> object:
    """A value of the JSON schema, each choice a categorical parameter of its own."""
    if "enum" in schema:
        values = list(schema["enum"])
        return values[trial.suggest_categorical(path, range(len(values)))]
    if "anyOf" in schema:
        kinds = schema["anyOf"]
        which = trial.suggest_categorical(f"{path}?", range(len(kinds)))
        return _described(kinds[which], trial, f"{path}?{which}")
    if schema["type"] == "array":
        length = trial.suggest_int(f"{path}#", schema["minItems"], schema["maxItems"])
        return [_described(schema["items"], trial, f"{path}[{place}]") for place in range(length)]
    return {name: _described(inner, trial, f"{path}.{name}") for name, inner in schema["properties"].items()}
