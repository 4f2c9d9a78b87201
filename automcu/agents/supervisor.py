"""The supervisor agent: what the next round of proposals should be, from counts alone.

It sees no architecture, no task and no text of another role. Whatever its model says, code holds: at least one
proposal and at most as many as were asked for, a focus that the counts support, and an end only once enough was
trained, nothing has got better for a while, and there is a network to ship.
"""

from collections import deque
from collections.abc import Mapping
from typing import get_args

from automcu.agents.role import Role
from automcu.llm.conversation import Conversation
from automcu.messages import Focus, RoundPlan, RoundRequest

LEAST_TRAINED = 3
LEAST_ROUNDS_WITHOUT_GAIN = 3
"""Below these no plan may end the search."""
STALLED_ROUNDS = 2
"""Rounds without a better network after which code looks elsewhere than around the best."""
PLANS_KEPT = 6

SYSTEM = """\
You plan a search for small neural networks that must fit a microcontroller. In each round networks are proposed; \
those that fit are trained. The goal is the highest accuracy before the trainings run out.
Answer with one JSON object {"count": networks to propose, "focus": one of the foci, "stop": false, or true to end \
the search, "reason": a few words} and nothing else."""


class SupervisorAgent(Role):
    """Plans rounds. Remembers how the search stood before its latest plans, and what it planned."""

    def __init__(self, conversation: Conversation | None) -> None:
        super().__init__(conversation)
        self._plans: deque[tuple[RoundRequest, RoundPlan]] = deque(maxlen=PLANS_KEPT)

    def plan(self, request: RoundRequest) -> RoundPlan:
        """The plan of one round. Raises what ends the run (`EndsTheRun`)."""
        foci = fitting_foci(request)
        plan = self._decide(
            SYSTEM,
            self._question(request, foci),
            plan_by_code(request),
            narrowed={
                "count": {"minimum": 1, "maximum": request.most_proposals},
                "focus": {"enum": list(foci)},
                "stop": {} if may_stop(request) else {"enum": [False]},
            },
            refusal=lambda plan: refusal(plan, request),
        )
        self._plans.append((request, plan))
        return plan

    def _question(self, request: RoundRequest, foci: tuple[Focus, ...]) -> str:
        best = "none yet" if request.best_accuracy is None else f"{request.best_accuracy:.4f}"
        stop = "may be true" if may_stop(request) else "must be false"
        return "\n".join(
            [
                f"Round {request.round}. So far: {request.proposed} proposed, {request.feasible} of them fit, "
                f"{request.trained} trained, {request.duplicate} duplicates refused.",
                f"Best int8 validation accuracy: {best}; rounds without a better one: {request.rounds_without_gain}.",
                f"Broke a limit since the last round: RAM {request.over_ram}, Flash {request.over_flash}, MACs or "
                f"latency {request.over_other}.",
                f"Left: {request.trainings_left} trainings.",
                *(
                    f"Before round {asked.round} {asked.feasible} of {asked.proposed} fitted; you planned "
                    f"{plan.count}, {plan.focus}."
                    for asked, plan in self._plans
                ),
                f"count: {request.most_proposals} at most. focus: {', '.join(foci)}. stop: {stop}.",
            ]
        )


def fitting_foci(request: RoundRequest) -> tuple[Focus, ...]:
    """The foci that the counts support: a limit is aimed at only where something broke it, accuracy and niches only
    once there is a network to start from."""
    supported: Mapping[Focus, bool] = {
        "explore": True,
        "more_accuracy": request.best_accuracy is not None,
        "less_ram": request.over_ram > 0,
        "less_flash": request.over_flash > 0,
        "fewer_macs": request.over_other > 0,
        "fill_niche": request.best_accuracy is not None,
    }
    foci: tuple[Focus, ...] = get_args(Focus)
    return tuple(focus for focus in foci if supported[focus])


def may_stop(request: RoundRequest) -> bool:
    """Whether a plan may end the search."""
    return (
        request.best_accuracy is not None
        and request.trained >= LEAST_TRAINED
        and request.rounds_without_gain >= LEAST_ROUNDS_WITHOUT_GAIN
    )


def refusal(plan: RoundPlan, request: RoundRequest) -> str:
    """Which rule `plan` breaks, in a sentence, or nothing."""
    if not 1 <= plan.count <= request.most_proposals:
        return f"count must be 1 to {request.most_proposals}"
    if plan.focus not in (foci := fitting_foci(request)):
        return f"the counts do not support focus {plan.focus}; take one of {', '.join(foci)}"
    if plan.stop and not may_stop(request):
        return (
            f"stop must be false until {LEAST_TRAINED} networks are trained and {LEAST_ROUNDS_WITHOUT_GAIN} rounds "
            "brought nothing better"
        )
    return ""


def plan_by_code(request: RoundRequest) -> RoundPlan:
    """All proposals that are allowed, never the end. The limit that was broken most is aimed at when at least half as
    many broke it as may be proposed; otherwise the best network, and every other round a niche or anything once it has
    not got better for a while."""
    broken: Mapping[Focus, int] = {
        "less_ram": request.over_ram,
        "less_flash": request.over_flash,
        "fewer_macs": request.over_other,
    }
    focus = max(broken, key=lambda focus: broken[focus])
    if broken[focus] >= max(1, request.most_proposals / 2):
        return RoundPlan(request.most_proposals, focus, False, f"{broken[focus]} broke this limit")
    if request.best_accuracy is None:
        return RoundPlan(request.most_proposals, "explore", False, "no network has been measured yet")
    if request.rounds_without_gain < STALLED_ROUNDS:
        return RoundPlan(request.most_proposals, "more_accuracy", False, "the best network still gets better")
    elsewhere: Focus = "fill_niche" if request.round % 2 else "explore"
    return RoundPlan(
        request.most_proposals, elsewhere, False, f"{request.rounds_without_gain} rounds brought nothing better"
    )
