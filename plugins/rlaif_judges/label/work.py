"""Asking: chunk after chunk of what the journal lacks, each on the disk before the next is asked.

A chunk is as much as takes about ten seconds, so that many calls are under way at once and little is lost by a kill.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Protocol, TypeVar

from rlaif_core import Abstain, Failed, FeedbackError, Judge, Outcome, Prompt, Question, Score, Verdict
from rlaif_core.errors import blame
from rlaif_core.verdicts import verdicts_of
from rlaif_judges.asking import Reply, Request
from rlaif_judges.economy.budget import SPENT
from rlaif_judges.label import writing
from rlaif_judges.label.answers import draw, drawn_key
from rlaif_judges.label.chains import Chains, Piece
from rlaif_judges.label.config import JUDGED, LabelConfig
from rlaif_judges.label.journal import Journal, Key, State
from rlaif_judges.label.progress import Progress
from rlaif_judges.label.questions import Questions, Unit

SECONDS, LEAST, MOST = 10.0, 64, 4096
"""What a chunk is meant to take, and how many questions it holds at least, so that as many calls can be under way."""
LOOK_BACK = 256
"""Questions over which the share of those that failed is taken."""
Record = tuple[Key, State, Mapping[str, Any]]
T = TypeVar("T", bound="Keyed")


class Keyed(Protocol):
    """Something to be asked, with the key of its record."""

    @property
    def key(self) -> Key: ...


class Writer(Protocol):
    """A judge that writes texts."""

    def write(self, requests: Sequence[Request]) -> Sequence[Reply | Abstain | Failed]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Everything that a labelling is made of; `check` raises once the user wants to stop."""

    config: LabelConfig
    prompts: Sequence[Prompt]
    judges: Mapping[str, Any]
    policy: Any
    journal: Journal
    questions: Questions
    chains: Chains
    progress: Progress
    check: Callable[[], None]

    def draw(self) -> None:
        """Draw what answers are not recorded."""
        table = self.config.answers
        if self.policy is None or not table.samples:
            return
        left = [prompt for prompt in self.prompts if not self.journal.settled(drawn_key(prompt))]
        self.progress.stage("answers drawn", len(self.prompts), len(self.prompts) - len(left))
        for start in range(0, len(left), table.batch):
            batch, began = left[start : start + table.batch], time.perf_counter()
            drawn = list(draw(self.policy, batch, table, self.config.label.seed))
            records: list[Record] = [
                (drawn_key(prompt), "done", {"answers": its}) for prompt, its in zip(batch, drawn, strict=True)
            ]
            self.journal.append(records, (("answers",), time.perf_counter() - began))
            self.progress.advance(len(batch))
            self.check()

    def judge(self) -> None:
        """Ask for everything that judges say by choosing."""
        for what in (its for its in JUDGED if its in self.config.label.what):
            for name, judge in self.judges.items():
                units = partial(self.questions.units, what, name, self.prompts)

                def said(chunk: Sequence[Unit], name: str = name, judge: Judge = judge) -> list[Record]:
                    return self._judged(name, judge, chunk)

                self._stage(f"{what} by {name}", (what, name), units, said)

    def write(self) -> None:
        """Have everything written that judges write."""
        for what, round_ in self.chains.stages():
            for name, judge in self.judges.items():
                pieces = partial(self.chains.pieces, what, round_, name, self.prompts)

                def said(chunk: Sequence[Piece], name: str = name, judge: Writer = judge) -> list[Record]:
                    return self._written(name, judge, chunk)

                number = f" {round_}" if self.config.label.rounds > 1 else ""
                self._stage(f"{what}{number} by {name}", (what, name), pieces, said)

    def _stage(
        self, title: str, whose: Key, units: Callable[[], Iterable[T]], said: Callable[[Sequence[T]], list[Record]]
    ) -> None:
        there = Counter(self.journal.settled(unit.key) for unit in units())
        if not there[False]:
            return
        self.progress.stage(title, there.total(), there[True])
        pace, recent = _Pace(self.config.label.batch), deque[Record](maxlen=LOOK_BACK)
        for chunk in pace.chunks(unit for unit in units() if not self.journal.settled(unit.key)):
            began = time.perf_counter()
            records = said(chunk)
            seconds = time.perf_counter() - began
            self.journal.append(records, (whose, seconds))
            pace.took(len(chunk), seconds)
            self.progress.advance(len(chunk), cost=math.fsum(record["cost"] for _, _, record in records))
            recent.extend(records)
            self._watch(whose[1], recent)
            self.check()

    def _watch(self, judge: str, recent: Sequence[Record]) -> None:
        failed = [record for _, state, record in recent if state == "failed"]
        most = self.config.label.max_failed
        if len(failed) > most * len(recent):
            raise FeedbackError(
                f"{len(failed)} of the last {len(recent)} questions to judge {judge!r} failed, more than "
                f"[label] max_failed = {most:g} allows, so nothing was made of them. The last: {failed[-1]['reason']}"
            )

    def _judged(self, name: str, judge: Judge, units: Sequence[Unit]) -> list[Record]:
        questions = [self.questions.question(unit) for unit in units]
        asked = [question for question in questions if isinstance(question, Question)]
        with blame(f"judge {name!r}"):
            verdicts = iter(verdicts_of(judge, asked) if asked else ())
        records: list[Record] = []
        for unit, question in zip(units, questions, strict=True):
            if isinstance(question, str):
                records.append((unit.key, "abstained", {"reason": question, "cost": 0.0}))
                continue
            verdict, shown = next(verdicts), self.questions.shown(unit)
            by_place = dict(zip(shown, verdict.outcomes, strict=True))
            records.append(
                (
                    unit.key,
                    *_kept([by_place[place] for place in unit.places], verdict, first=shown[0] == unit.places[0]),
                )
            )
        return records

    def _written(self, name: str, judge: Writer, pieces: Sequence[Piece]) -> list[Record]:
        requests = [self.chains.request(piece) for piece in pieces]
        asked = [request for request in requests if isinstance(request, Request)]
        with blame(f"judge {name!r}"):
            replies = iter(judge.write(asked) if asked else ())
        records: list[Record] = []
        for piece, request in zip(pieces, requests, strict=True):
            if isinstance(request, str):
                records.append((piece.key, "abstained", {"reason": request, "cost": 0.0}))
                continue
            reply = next(replies)
            text, lost = writing.written(reply, request)
            said: dict[str, Any] = {"cost": reply.cost, "calls": 1}
            if isinstance(reply, Reply):
                said |= {"tokens": [reply.tokens_in, reply.tokens_out], "cut": reply.cut}
            if lost is None:
                records.append((piece.key, "done", said | {"text": text}))
            else:
                records.append((piece.key, _state(lost), said | {"reason": writing.whole(lost.reason)}))
        return records


class _Pace:
    """How many questions a chunk holds: `fixed`, or what took about `SECONDS` lately."""

    def __init__(self, fixed: int) -> None:
        self._fixed, self.size = fixed, fixed or LEAST

    def chunks(self, units: Iterable[T]) -> Iterator[list[T]]:
        left = iter(units)
        while chunk := list(islice(left, self.size)):
            yield chunk

    def took(self, count: int, seconds: float) -> None:
        if not self._fixed:
            wanted = int(SECONDS * count / max(seconds, 1e-6))
            self.size = max(LEAST, min(wanted, 4 * self.size, MOST))


def _state(lost: Abstain | Failed) -> State:
    if isinstance(lost, Failed):
        return "failed"
    return "spent" if lost.reason.startswith(SPENT) else "abstained"


def _kept(outcomes: Sequence[Outcome], verdict: Verdict, first: bool) -> tuple[State, dict[str, Any]]:
    """A verdict as the journal keeps it. `first`: whether the first of the places was shown first."""
    said: dict[str, Any] = {
        "cost": math.fsum(outcome.cost for outcome in outcomes),
        "measured": {name: float(value) for name, value in verdict.measured.items() if math.isfinite(value)},
        "first": first,
    }
    for kind in (Failed, Abstain):
        if missing := next((outcome for outcome in outcomes if isinstance(outcome, kind)), None):
            return _state(missing), said | {"reason": writing.whole(missing.reason)}
    scores = [outcome for outcome in outcomes if isinstance(outcome, Score)]
    reasons = [writing.whole(its.reason) for its in scores]
    return "done", said | {"values": [its.value for its in scores], "reasons": reasons}
