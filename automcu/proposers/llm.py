"""A language model as proposer: typed facts in, validated architectures out, code in its place whenever it fails."""

import json
import random
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from automcu.architecture import Task
from automcu.board import Budget
from automcu.errors import InvalidArchitecture, LLMError
from automcu.finished import Finished
from automcu.llm.client import EndsTheRun, Message, UnusableReply
from automcu.llm.conversation import Conversation, printable
from automcu.llm.reply import EntryReader, MalformedReply
from automcu.messages import RoundPlan
from automcu.proposal import Cost, InvalidProposal, Notice, Proposal, ProposalItem, Proposer
from automcu.proposers.forms import EditMenu, Form, Mode, Question, WholeArchitectures
from automcu.proposers.history import History
from automcu.proposers.menu import MenuMaker
from automcu.proposers.prompt import Setting, repair_prompt
from automcu.proposers.starters import Starters
from automcu.spaces.space import Space

PATIENCE = 3
"""Failed rounds in a row after which the model is asked only every `REST + 1`-th round."""
REST = 4
MAX_EXCERPT = 2_000


@dataclass(slots=True)
class _Round:
    """What one round with the model has brought so far."""

    proposed: int = 0
    new: int = 0
    invalid: list[InvalidProposal] = field(default_factory=list)
    """Of the last reply."""
    trouble: str = "it proposed nothing."

    def refuse(self, text: str, reason: str, *, readable: bool = True) -> None:
        """Count `text` among what is invalid."""
        self.invalid.append(InvalidProposal(printable(text)[:MAX_EXCERPT], printable(reason), readable))


class LLMProposer:
    """Asks the model of `conversation` for architectures in one of the forms `mode`: `architecture` for whole ones,
    `edit` for picks from a menu whose costs `cost` works out.

    Each proposal is passed on as soon as it stands in the reply, and stays whatever becomes of the rest. A reply with
    faults, or without anything whole in it, is asked for once more. A round in which the model gives nothing valid and
    new is taken over by `fallback`, which observes everything too. The model is asked again the next round, or every
    fifth one after three such rounds. Duplicates are passed on (the search counts and refuses them) and mentioned to
    the model; so are faults, those of a reply that is asked for again too. Without a fallback `patience` such rounds in
    a row raise `LLMError`. What ends the run (`EndsTheRun`) is raised always. When a reply was cut off with nothing
    whole in it, the second one may be twice as long. Menus begin with `starters` where there are any.
    """

    name = "llm"

    def __init__(
        self,
        space: Space,
        conversation: Conversation,
        task: Task,
        budget: Budget,
        board_name: str,
        seed: int,
        fallback: Proposer | None,
        *,
        mode: Mode,
        cost: Cost,
        patience: int = PATIENCE,
        starters: Starters | None = None,
    ) -> None:
        self._conversation = conversation
        self._patience = patience
        self._fallback = fallback
        rng, setting = random.Random(seed), Setting(task, budget, board_name)
        self._form: Form = (
            EditMenu(setting, MenuMaker(space, budget, cost, rng, starters), rng)
            if mode == "edit"
            else WholeArchitectures(setting, space, rng)
        )
        self._history = History(budget)
        self._seen: set[str] = set()
        self._duplicates = 0
        self._failures = 0
        self._rest = 0
        self._replaced = 0
        """Rounds since the model began to fail, in which code stood in for it."""

    def propose(self, count: int, plan: RoundPlan | None = None) -> Iterator[ProposalItem]:
        """Up to `count` architectures from the model, or from the fallback; see the class."""
        if count < 1:
            return
        model = self._conversation.llm.model
        if self._rest and self._fallback is not None:
            self._rest -= 1
            self._replaced += 1
            yield from self._by_code(self._fallback, count, plan)
            return
        asked = yield from self._ask(count, plan)
        if asked.new:
            if self._failures:
                rounds = "a round" if self._replaced == 1 else f"{self._replaced} rounds"
                stood_in = f" after {rounds} in which {self._fallback.name} did" if self._fallback else ""
                yield Notice(f"The LLM {model} proposes again{stood_in}.")
            self._failures = self._replaced = 0
            return
        self._failures += 1
        trouble = printable(asked.trouble)
        if self._fallback is None:
            if self._failures >= self._patience:
                raise LLMError(
                    f"the LLM {model} gave nothing new to check {self._patience} times in a row, at last because: "
                    f"{trouble.rstrip('.')}; correct the llm settings, or set proposer.fallback=true to let evolution "
                    "take over while it fails"
                )
            yield Notice(f"The LLM {model} gave nothing new to check: {trouble} It is asked again.")
            return
        self._replaced += 1
        if self._failures >= PATIENCE:
            self._rest = REST
        if self._failures in (1, PATIENCE):
            when = f"every {REST + 1}th round" if self._rest else "in the next round"
            yield Notice(
                f"The LLM {model} gave nothing new to check: {trouble} "
                f"Proposals come from {self._fallback.name} instead; the LLM is asked again {when}."
            )
        yield from self._by_code(self._fallback, count - asked.proposed, plan)

    def observe(self, finished: Sequence[Finished]) -> None:
        """Goes into the next prompt, and to the fallback."""
        for end in finished:
            self._seen.add(end.candidate.architecture.fingerprint)
            self._history.add(end)
        if self._fallback is not None:
            self._fallback.observe(finished)

    def _by_code(self, code: Proposer, count: int, plan: RoundPlan | None) -> Iterator[ProposalItem]:
        for item in code.propose(count, plan):
            if isinstance(item, Proposal):
                self._seen.add(item.architecture.fingerprint)
            yield item

    def _ask(self, count: int, plan: RoundPlan | None) -> Generator[ProposalItem, None, _Round]:
        """One round with the model: what it brought, and why nothing new where nothing did."""
        asked = _Round()
        question = self._form.question(self._history, self._seen, self._duplicates, count, plan)
        if question is None:
            asked.trouble = "nothing that could be offered to it is new."
            return asked
        turns: tuple[Message, ...] = (Message("user", question.text),)
        max_tokens = self._conversation.max_tokens
        for repair in (False, True):
            reader = EntryReader(question.key, 2 * question.count)
            asked.invalid.clear()
            again = False
            try:
                yield from self._listen(question, turns, max_tokens, reader, asked, repair=repair)
            except UnusableReply as error:
                asked.trouble = f"{error}."
                if again := not asked.proposed:
                    asked.refuse(reader.text, f"reply: {error}", readable=False)
                    max_tokens *= 2
            except EndsTheRun:
                raise
            except LLMError as error:
                asked.trouble = f"{error}."
            else:
                if again := bool(asked.invalid) and asked.proposed < question.count:
                    asked.trouble = f"{asked.invalid[0].reason}."
                    turns += repair_prompt(reader.text, asked.invalid, question.key, question.count - asked.proposed)
                elif not asked.proposed:
                    asked.refuse(reader.text, "reply: it proposes nothing")
            yield from asked.invalid
            if not again:
                break
        self._duplicates = asked.proposed - asked.new
        if asked.proposed:
            asked.trouble = f"all {asked.proposed} of its proposals had been tried before."
        return asked

    def _listen(
        self,
        question: Question,
        turns: tuple[Message, ...],
        max_tokens: int,
        reader: EntryReader,
        asked: _Round,
        *,
        repair: bool,
    ) -> Iterator[ProposalItem]:
        """The proposals of one reply as they come, then its exchange. Raises what the conversation raises."""
        index, failure = 0, None
        try:
            with closing(self._conversation.stream(question.system, turns, question.schema, max_tokens)) as stream:
                for piece in stream:
                    for entry in reader.feed(piece):
                        yield from self._take(entry, index, question, asked, repair=repair)
                        index += 1
                    if reader.too_long:
                        break
        except LLMError as error:
            failure = error
        yield from self._conversation.exchanges()
        if failure is not None:
            raise failure
        try:
            for entry in reader.end():
                yield from self._take(entry, index, question, asked, repair=repair)
                index += 1
        except MalformedReply as error:
            asked.refuse(reader.text, f"reply: {error}", readable=False)

    def _take(
        self, entry: object, index: int, question: Question, asked: _Round, *, repair: bool
    ) -> Iterator[Proposal]:
        if asked.proposed >= question.count:
            return
        try:
            proposal = question.read(entry)
        except InvalidArchitecture as error:
            reason = f"{question.key}[{index}]: {printable(str(error))[:300]}"
            asked.refuse(json.dumps(entry), reason)
            return
        fingerprint = proposal.architecture.fingerprint
        asked.proposed += 1
        asked.new += fingerprint not in self._seen
        self._seen.add(fingerprint)
        yield Proposal(proposal.architecture, "llm:repair") if repair else proposal
