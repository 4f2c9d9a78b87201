"""A language model as proposer: typed facts in, validated architectures out, code in its place whenever it fails."""

import json
import random
from collections.abc import Generator, Iterator, Mapping, Sequence

from automcu.architecture import Architecture, Task
from automcu.board import Budget
from automcu.errors import InvalidArchitecture, LLMError
from automcu.finished import Finished
from automcu.llm.client import LLM, Completion, Message, UnusableReply, request_sha256
from automcu.llm.reply import MAX_REPLY_CHARS, MalformedReply, json_object
from automcu.proposal import Exchange, InvalidProposal, Notice, Proposal, ProposalItem, Proposer
from automcu.proposers.prompt import History, repair_prompt, reply_schema, round_prompt
from automcu.spaces.space import Space

PATIENCE = 3
"""Failed rounds in a row after which the model is asked only every `REST + 1`-th round."""
REST = 4
MAX_EXCERPT = 2_000


class LLMProposer:
    """Asks `llm` for architectures, in one fresh conversation a round with at most one repair.

    A round in which the model gives nothing valid and new is taken over by `fallback`, which observes everything too.
    The model is asked again the next round, or every fifth one after three such rounds. Duplicates are passed on (the
    search counts and refuses them) and mentioned to the model. Without a fallback the third such round
    in a row raises `LLMError`. `max_tokens` bounds a reply, thoughts included; it is doubled for the one repair when
    the reply was cut off.
    """

    name = "llm"

    def __init__(
        self,
        space: Space,
        llm: LLM,
        task: Task,
        budget: Budget,
        board_name: str,
        seed: int,
        fallback: Proposer | None,
        max_tokens: int = 4096,
    ) -> None:
        self._space = space
        self._llm = llm
        self._task = task
        self._budget = budget
        self._board_name = board_name
        self._rng = random.Random(seed)
        self._fallback = fallback
        self._max_tokens = max_tokens
        self._history = History()
        self._seen: set[str] = set()
        self._duplicates = 0
        self._failures = 0
        self._rest = 0

    def propose(self, count: int) -> Iterator[ProposalItem]:
        """Up to `count` architectures from the model, or from the fallback; see the class."""
        if self._rest and self._fallback is not None:
            self._rest -= 1
            yield from self._substitute(self._fallback, count)
            return
        proposed, trouble = yield from self._ask(count)
        trouble = trouble and _printable(trouble)
        if trouble is None:
            if self._failures:
                yield Notice(f"The LLM {self._llm.model} proposes again.")
            self._failures = 0
            return
        self._failures += 1
        if self._fallback is None:
            if self._failures >= PATIENCE:
                raise LLMError(
                    f"the LLM {self._llm.model} gave nothing new to check {PATIENCE} times in a row, at last because: "
                    f"{trouble.rstrip('.')}; correct the llm settings, or set proposer.fallback=true to let evolution "
                    "take over while it fails"
                )
            yield Notice(f"The LLM {self._llm.model} gave nothing new to check: {trouble} It is asked again.")
            return
        if self._failures >= PATIENCE:
            self._rest = REST
        if self._failures in (1, PATIENCE):
            when = f"every {REST + 1}th round" if self._rest else "in the next round"
            yield Notice(
                f"The LLM {self._llm.model} gave nothing to check: {trouble} "
                f"Proposals come from {self._fallback.name} instead; the LLM is asked again {when}."
            )
        yield from self._substitute(self._fallback, count - proposed)

    def observe(self, finished: Sequence[Finished]) -> None:
        """Goes into the next prompt, and to the fallback."""
        for end in finished:
            self._seen.add(end.candidate.architecture.fingerprint)
            self._history.add(end)
        if self._fallback is not None:
            self._fallback.observe(finished)

    def _substitute(self, fallback: Proposer, count: int) -> Iterator[ProposalItem]:
        for item in fallback.propose(count):
            if isinstance(item, Proposal):
                self._seen.add(item.architecture.fingerprint)
            yield item

    def _ask(self, count: int) -> Generator[ProposalItem, None, tuple[int, str | None]]:
        """One round with the model. Returns how many proposals it made, and what went wrong if none of them was new."""
        messages = round_prompt(
            self._task,
            self._budget,
            self._board_name,
            self._space.describe(),
            self._space.random(self._rng),
            self._history,
            self._duplicates,
            count,
        )
        schema = reply_schema(self._space.json_schema, count)
        max_tokens = self._max_tokens
        trouble = "it proposed nothing."
        invalid: tuple[InvalidProposal, ...] = ()
        proposed = self._duplicates = 0
        for origin in ("llm", "llm:repair"):
            try:
                completion = self._llm.complete(messages, schema, max_tokens=max_tokens)
            except UnusableReply as error:
                yield _exchange(error.completion, messages, schema, max_tokens)
                trouble = f"{error}."
                max_tokens *= 2
                continue
            except LLMError as error:
                trouble = f"{error}."
                break
            yield _exchange(completion, messages, schema, max_tokens)
            architectures, invalid = read_proposals(self._space, completion.text, count - proposed)
            for architecture in architectures:
                self._duplicates += architecture.fingerprint in self._seen
                self._seen.add(architecture.fingerprint)
                proposed += 1
                yield Proposal(architecture, origin)
            if not invalid or proposed == count:
                break
            messages += repair_prompt(_printable(completion.text), invalid, count - proposed)
        yield from invalid
        if proposed > self._duplicates:
            return proposed, None
        if proposed:
            return proposed, f"all {proposed} of its proposals had been tried before."
        return proposed, f"{invalid[0].reason}." if invalid else trouble


def read_proposals(space: Space, text: str, count: int) -> tuple[tuple[Architecture, ...], tuple[InvalidProposal, ...]]:
    """The first `count` valid architectures of a reply, and what was invalid among those read; never raises.

    A reply that cannot be read at all is one invalid proposal. Reasons begin with the path of what they speak of.
    """
    try:
        entries = json_object(text, "proposals")["proposals"]
    except MalformedReply as error:
        return (), (InvalidProposal(_printable(text)[:MAX_EXCERPT], f"reply: {error}"),)
    if not isinstance(entries, list):
        excerpt = json.dumps(entries)[:MAX_EXCERPT]
        return (), (InvalidProposal(excerpt, "proposals: not a list; give a list of architectures"),)
    valid: list[Architecture] = []
    invalid: list[InvalidProposal] = []
    for index, entry in enumerate(entries[: 2 * count]):
        if len(valid) == count:
            break
        try:
            valid.append(space.parse(entry))
        except InvalidArchitecture as error:
            reason = f"proposals[{index}]: {_printable(str(error))[:300]}"
            invalid.append(InvalidProposal(json.dumps(entry)[:MAX_EXCERPT], reason))
    return tuple(valid), tuple(invalid)


def _exchange(
    completion: Completion, messages: Sequence[Message], schema: Mapping[str, object], max_tokens: int
) -> Exchange:
    return Exchange(
        model=completion.model,
        request_sha256=request_sha256(completion.model, messages, schema, max_tokens),
        reply=_printable(completion.text[:MAX_REPLY_CHARS]),
        finish=completion.finish,
        level=completion.level,
        tokens_in=completion.tokens_in,
        tokens_out=completion.tokens_out,
        usd=completion.usd,
        seconds=completion.seconds,
    )


def _printable(text: str) -> str:
    """`text` fit for UTF-8: halves of surrogate pairs, which JSON lets through, become question marks."""
    return text.encode(errors="replace").decode()
