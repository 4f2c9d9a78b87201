"""The architectures that the filter is audited on: proposed by chance, by evolution, and by replies with faults."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import cast

from automcu.architecture import Architecture, Candidate
from automcu.errors import InvalidArchitecture
from automcu.feasibility.gate import judge
from automcu.feasibility.planner_tier import PlannerTier
from automcu.finished import Finished, Rejected, Stopped
from automcu.graph.lowering import lower
from automcu.llm.reply import MalformedReply, json_object
from automcu.proposal import Proposal
from automcu.proposers.evolution import RegularizedEvolution
from automcu.proposers.random_search import RandomSearch
from automcu.spaces.mcu_cnn.description import read
from automcu.spaces.space import Space
from automcu.training.data import TrainingData
from automcu.training.trainer import DummyTrainer
from experiments.filter_audit.replies import ENTRIES, Reply, replies
from experiments.filter_audit.targets import Target

_BATCH = 8


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing proposed, and how far it came: read as a description, and as a network that can be lowered.

    `kind` says how it came about: `random`, `evolution`, or the kind of reply it stood in.
    """

    proposer: str
    aim: str
    kind: str
    parsed: bool
    architecture: Architecture | None


def random_offers(space: Space, seed: int, count: int) -> list[Offer]:
    """`count` architectures of random search."""
    found = RandomSearch(space, seed).propose(count)
    return [_offer(space, "random", "", item.architecture) for item in found if isinstance(item, Proposal)]


def evolved_offers(space: Space, seed: int, target: Target, count: int) -> list[Offer]:
    """`count` architectures of regularized evolution that aims at `target`.

    Nothing is trained: what the planner tier admits is ranked by `DummyTrainer`'s stand-in for accuracy, which grows
    with the number of parameters, so that the population is driven against the limits from below.
    """
    evolution, planner, trainer = RegularizedEvolution(space, seed), PlannerTier(target.kernels), DummyTrainer(epochs=1)
    no_data = cast(TrainingData, None)  # this trainer looks at none
    offers: list[Offer] = []
    while len(offers) < count:
        news: list[Finished] = []
        for item in islice(evolution.propose(_BATCH), count - len(offers)):
            if not isinstance(item, Proposal):
                continue
            candidate = Candidate(len(offers) + 1, item.architecture, item.origin)
            offers.append(_offer(space, "evolution", target.name, item.architecture))
            network = space.build(item.architecture)
            verdict = judge(planner.report(lower(network), Path), target.asked, target.board)
            if verdict.fits:
                trained = trainer.train(network, no_data, seed=seed, seconds=60.0, on_epoch=lambda point: None)
                news.append(Stopped(candidate, verdict.report, trained.trial))
            else:
                news.append(Rejected(candidate, verdict.report, verdict.violations))
        if not news:
            break  # the space is used up
        evolution.observe(news)
    return offers


def reply_offers(space: Space, seed: int, count: int) -> list[Offer]:
    """`count` descriptions in replies such as language models send, each kind of fault as often as the others."""
    offers: list[Offer] = []
    for reply in islice(replies(space, random.Random(seed)), -(-count // ENTRIES)):
        offers.extend(_offers_of(space, reply))
    return offers[:count]


def _offers_of(space: Space, reply: Reply) -> Iterator[Offer]:
    valid, invalid = _read(space, reply.text)
    architectures = iter(valid)
    for entry in reply.entries:
        if reply.readable and _allowed(space, entry):
            yield Offer("replies", "", reply.kind, True, next(architectures))
        else:
            yield Offer("replies", "", reply.kind, reply.readable and _readable(entry), None)
    lost = 0 if reply.readable else len(reply.entries)
    if next(architectures, None) is not None or len(valid) + max(len(invalid), lost) != len(reply.entries):
        raise AssertionError(f"a reply of kind {reply.kind} was read otherwise than its entries are")


def _read(space: Space, text: str) -> tuple[list[Architecture], list[str]]:
    """The architectures of a whole reply, and why the others are none."""
    try:
        entries = json_object(text, "proposals")["proposals"]
    except MalformedReply as error:
        return [], [str(error)]
    valid, invalid = list[Architecture](), list[str]()
    for entry in entries if isinstance(entries, list) else [entries]:
        try:
            valid.append(space.parse(entry))
        except InvalidArchitecture as error:
            invalid.append(str(error))
    return valid[:ENTRIES], invalid


def _readable(entry: object) -> bool:
    """Whether `entry` is a description of the space `mcu_cnn`, whatever network it may be of."""
    try:
        read(entry)
    except InvalidArchitecture:
        return False
    return True


def _allowed(space: Space, entry: object) -> bool:
    try:
        lower(space.build(space.parse(entry)))
    except InvalidArchitecture:
        return False
    return True


def _offer(space: Space, proposer: str, aim: str, architecture: Architecture) -> Offer:
    entry = json.loads(architecture.text)
    parsed = _readable(entry)
    return Offer(proposer, aim, proposer, parsed, architecture if parsed and _allowed(space, entry) else None)
