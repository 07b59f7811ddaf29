"""A language model as a judge: questions become ballots, ballots requests, and replies outcomes with their reasons.

All questions of a batch are asked at once. What a reply says counts by the probability that the model gave to each
option; what it wrote as prose is kept as a reason, and never searched for a verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rlaif_core import Abstain, Failed, Question, Score, Verdict
from rlaif_judges.asking import Answering, Message, Reply, Request
from rlaif_judges.forms import Ballot, ballots
from rlaif_judges.hygiene import Hygiene
from rlaif_judges.tally import Calibrator, Cast, verdict

THINK = (
    "Before you decide, write in a few sentences what speaks for and what against, quoting what matters. Do not decide "
    "yet."
)
DECIDE = "Now decide, in the light of what you wrote. "


@dataclass(frozen=True, slots=True)
class _Vote:
    """One vote on one ballot of one question, on its way."""

    ballot: Ballot
    seed: int
    reasons: str = ""
    lost: Abstain | Failed | None = None
    cost: float = 0.0
    tokens: tuple[int, int] = (0, 0)


class LanguageJudge:
    """Asks a language model, in whatever way its `hygiene` says, and scores from -1 to 1.

    "compare" is antisymmetric: exchanging the answers exchanges the sign. In "rank" an answer that comes more than once
    is shown once, and its copies share its score; the scores of different texts sum to 0. Answers that are all the same
    text are a tie and nobody is asked. `write` lets it write texts, as for critiques and revisions.
    """

    def __init__(self, desk: Answering, hygiene: Hygiene, calibrator: Calibrator | None = None) -> None:
        self._desk, self._hygiene, self._calibrator = desk, hygiene, calibrator

    def ask(self, questions: Sequence[Question]) -> Sequence[Verdict]:
        style = self._hygiene.style
        distinct = [_distinct(question) for question in questions]
        each = [
            [] if _same(question) else ballots(its, style) for question, its in zip(questions, distinct, strict=True)
        ]
        casts = iter(self._cast([ballot for its in each for ballot in its]))
        return [
            _tie(question)
            if _same(question)
            else _copied(question, self._counted(its, [next(casts) for _ in here]), its.answers)
            for question, its, here in zip(questions, distinct, each, strict=True)
        ]

    def write(self, requests: Sequence[Request]) -> list[Reply | Abstain | Failed]:
        """Texts, one a request: see `Request` without options."""
        return self._desk.answer(requests)

    def _counted(self, question: Question, casts: Sequence[Cast]) -> Verdict:
        return verdict(question, casts, self._hygiene, self._calibrator)

    def _cast(self, every: Sequence[Ballot]) -> list[Cast]:
        count = self._hygiene.votes
        votes = [_Vote(ballot, seed) for ballot in every for seed in range(count)]
        if self._hygiene.reasons:
            votes = self._reasoned(votes)
        asked = [vote for vote in votes if vote.lost is None]
        replies = iter(self._desk.answer([self._choice(vote) for vote in asked]))
        heard = [vote.lost or next(replies) for vote in votes]
        casts = []
        for place, ballot in enumerate(every):
            here = slice(place * count, (place + 1) * count)
            cost = sum(vote.cost for vote in votes[here]) + sum(reply.cost for reply in heard[here])
            reasons = [vote.reasons for vote in votes[here]] if self._hygiene.reasons else []
            read, wrote = map(sum, zip(*(_tokens(one) for one in (*votes[here], *heard[here])), strict=True))
            casts.append(Cast(ballot, heard[here], reasons, cost, (read, wrote)))
        return casts

    def _reasoned(self, votes: Sequence[_Vote]) -> list[_Vote]:
        """Each vote with the reasons that the judge writes before it chooses."""
        written = self._desk.answer(
            [
                Request(
                    messages=_asking(vote.ballot, THINK),
                    max_tokens=self._hygiene.reason_tokens,
                    temperature=self._hygiene.temperature,
                    seed=vote.seed,
                )
                for vote in votes
            ]
        )
        return [
            replace(vote, reasons=said.text.strip(), cost=said.cost, tokens=_tokens(said))
            if isinstance(said, Reply)
            else replace(vote, lost=said)
            for vote, said in zip(votes, written, strict=True)
        ]

    def _choice(self, vote: _Vote) -> Request:
        messages = vote.ballot.messages
        if vote.reasons:
            ask = messages[-1].content.rpartition("\n\n")[2]
            thought = Message(role="assistant", content=vote.reasons)
            messages = (*_asking(vote.ballot, THINK), thought, Message(role="user", content=DECIDE + ask))
        return Request(
            messages=messages,
            options=vote.ballot.options,
            max_tokens=16,
            temperature=0.0 if self._hygiene.reasons else self._hygiene.temperature,
            seed=vote.seed,
        )


def _tokens(said: _Vote | Reply | Abstain | Failed) -> tuple[int, int]:
    """Tokens read and written, as far as they are known."""
    if isinstance(said, Reply):
        return said.tokens_in, said.tokens_out
    return said.tokens if isinstance(said, _Vote) else (0, 0)


def _same(question: Question) -> bool:
    return question.form != "score" and len(question.answers) > 1 and len({*question.answers}) == 1


def _distinct(question: Question) -> Question:
    """A ranking without copies: they would share the probability of being chosen, and lose by it."""
    return replace(question, answers=tuple(dict.fromkeys(question.answers))) if question.form == "rank" else question


def _copied(question: Question, verdict: Verdict, asked: Sequence[str]) -> Verdict:
    """The verdict on the texts that were asked about as one on the question's answers; copies share what it cost."""
    if len(asked) == len(question.answers):
        return verdict
    said, copies = dict(zip(asked, verdict.outcomes, strict=True)), Counter(question.answers)
    outcomes = (replace(said[answer], cost=said[answer].cost / copies[answer]) for answer in question.answers)
    return replace(verdict, outcomes=tuple(outcomes))


def _tie(question: Question) -> Verdict:
    return Verdict(outcomes=tuple(Score(0.0, "the answers are the same text") for _ in question.answers))


def _asking(ballot: Ballot, more: str) -> tuple[Message, ...]:
    *before, last = ballot.messages
    return (*before, replace(last, content=f"{last.content}\n\n{more}"))
