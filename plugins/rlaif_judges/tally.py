"""Counting the ballots on a question: probabilities times worth, what the orders disagree on, and when to abstain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

from rlaif_core import Abstain, Failed, Outcome, Question, Score, Verdict
from rlaif_judges.asking import Reply
from rlaif_judges.forms import Ballot, orders
from rlaif_judges.hygiene import Hygiene

FEW = 0.5
"""Share of the model's probability on the options below which a reason says how little it was."""
SHOWN = 2000
"""Characters of a judge's reasons that become part of an outcome's reason; the ledger has all of them."""


class Calibrator(Protocol):
    """Something that makes an honest probability of a judge's."""

    def __call__(self, probability: float) -> float: ...


@dataclass(frozen=True, slots=True)
class Cast:
    """A ballot with what was said to it, a reply a vote, and the reasons written before each; `tokens` were read and
    written for all of it."""

    ballot: Ballot
    replies: Sequence[Reply | Abstain | Failed]
    reasons: Sequence[str] = ()
    cost: float = 0.0
    tokens: tuple[int, int] = (0, 0)

    @property
    def heard(self) -> list[Reply]:
        return [reply for reply in self.replies if isinstance(reply, Reply)]

    @property
    def missing(self) -> Abstain | Failed | None:
        """What stands in the way of counting it: a half of the votes, or more, that were not heard."""
        others = [reply for reply in self.replies if not isinstance(reply, Reply)]
        return _gravest(others) if 2 * len(others) >= len(self.replies) else None

    @property
    def probabilities(self) -> tuple[float, ...]:
        """[options]: the mean over the votes that were heard."""
        return tuple(map(fmean, zip(*(reply.probabilities for reply in self.heard), strict=True)))

    def worth(self, place: int) -> float:
        """What it adds to the score of the answer at `place`."""
        return math.fsum(p * row[place] for p, row in zip(self.probabilities, self.ballot.worth, strict=True))


def _gravest(missing: Sequence[Abstain | Failed]) -> Abstain | Failed | None:
    """A failure before what was not asked: the latter must not hide it."""
    return next((its for its in missing if isinstance(its, Failed)), missing[0] if missing else None)


def verdict(question: Question, casts: Sequence[Cast], hygiene: Hygiene, calibrator: Calibrator | None) -> Verdict:
    """The outcomes of a question, scores from -1 to 1; those of a comparison sum to 0, and so do those of a ranking.

    The calibration is one of comparisons, and changes nothing else.
    """
    cost = math.fsum(cast.cost for cast in casts) / max(len(question.answers), 1)
    if question.form == "score":
        levels = tuple(_level(cast, place, hygiene, cost) for place, cast in enumerate(casts))
        return Verdict(outcomes=levels, measured=_measured(casts))
    if not casts:
        return Verdict(outcomes=tuple(Abstain("there is no other answer to compare it with") for _ in question.answers))
    if missing := _gravest([lost for cast in casts if (lost := cast.missing)]):
        return Verdict(outcomes=tuple(type(missing)(missing.reason, cost) for _ in question.answers))
    ways = orders(question, hygiene.style)
    by_order = [
        [ways * math.fsum(c.worth(place) for c in casts if c.ballot.order == order) for order in range(ways)]
        for place in range(len(question.answers))
    ]
    values = [fmean(its) for its in by_order]
    if question.form == "compare":
        values = _compared(values, by_order[0], hygiene, calibrator)
    disagreement = max(max(its) - min(its) for its in by_order) / 2
    apart = (max(values) - min(values)) / 2
    notes = _notes(casts)
    told = [_told(question, its, place, casts) + notes for place, its in enumerate(by_order)]
    flipped = question.form == "compare" and min(by_order[0]) < 0 < max(by_order[0])
    outcomes: list[Outcome] = []
    for value, reason in zip(values, told, strict=True):
        if flipped and hygiene.flips == "abstain":
            outcomes.append(Abstain(f"each order names another answer the better: {reason}", cost))
        elif apart < hygiene.confidence:
            outcomes.append(Abstain(f"confidence {apart:.2f} is below {hygiene.confidence:g}: {reason}", cost))
        else:
            outcomes.append(Score(value, reason, cost))
    measured = _measured(casts) | {"confidence": apart}
    if question.form == "compare":  # before ties, calibration and abstention
        measured["margin"] = fmean(by_order[0])
    if ways == 2:
        measured["disagreement"] = disagreement
    if ways == 2 and question.form == "compare":  # how much likelier than 1/2 the one shown first is to be preferred
        measured["position_bias"] = (by_order[0][0] - by_order[0][1]) / 4
    return Verdict(outcomes=tuple(outcomes), measured=measured)


def _compared(
    values: Sequence[float], orders_: Sequence[float], hygiene: Hygiene, calibrator: Calibrator | None
) -> list[float]:
    """Of two answers the values again, so that one is exactly the other's opposite."""
    value = values[0]
    if hygiene.flips == "tie" and min(orders_) < 0 < max(orders_):
        value = 0.0
    elif calibrator is not None:
        value = calibrator((1 + value) / 2) - calibrator((1 - value) / 2)  # antisymmetric, whatever it was fitted to
    return [value, -value]


def _level(cast: Cast, place: int, hygiene: Hygiene, cost: float) -> Outcome:
    if missing := cast.missing:
        return type(missing)(missing.reason, cost)
    p = cast.probabilities
    expected = math.fsum((level + 1) * share for level, share in enumerate(p))
    reason = f"level {expected:.1f} of {len(p)}{_notes([cast])}"
    surprise = -math.fsum(share * math.log(share) for share in p if share > 0)
    confidence = max(1 - surprise / math.log(len(p)), 0.0)  # rounding takes it below 0 where all is alike
    if confidence < hygiene.confidence:
        return Abstain(f"confidence {confidence:.2f} is below {hygiene.confidence:g}: {reason}", cost)
    return Score(cast.worth(place), reason, cost)


def _told(question: Question, by_order: Sequence[float], place: int, casts: Sequence[Cast]) -> str:
    if question.form == "rank":
        best, worst = (math.fsum(max(sign * cast.worth(place), 0.0) for cast in casts) for sign in (1, -1))
        return f"the best with {best:.2f}, the worst with {worst:.2f}"
    shares = [(value + 1) / 2 for value in by_order]
    if len(shares) == 1:
        return f"preferred with {shares[0]:.2f}"
    first, second = shares if place == 0 else reversed(shares)
    return f"preferred with {fmean(shares):.2f} ({first:.2f} where it was shown first, {second:.2f} second)"


def _notes(casts: Sequence[Cast]) -> str:
    """What else should be known: text that was not shown, a model that would have said something else, its reasons."""
    notes = ""
    if left_out := max(cast.ballot.left_out for cast in casts):
        notes += f"; {left_out} characters were not shown"
    mass = min((reply.mass for cast in casts for reply in cast.heard), default=1.0)
    if mass < FEW:
        notes += f"; only {mass:.0%} of the judge's probability was on the choices"
    if unheard := sum(len(cast.replies) - len(cast.heard) for cast in casts):
        notes += f"; {unheard} votes were not heard"
    if reasons := next((text for cast in casts for text in cast.reasons if text), ""):
        notes += f": {reasons[:SHOWN]}"
    return notes


def _measured(casts: Sequence[Cast]) -> dict[str, float]:
    measured = {"calls": float(sum(len(cast.replies) + len(cast.reasons) for cast in casts))}
    for place, name in enumerate(("tokens_in", "tokens_out")):
        if tokens := sum(cast.tokens[place] for cast in casts):
            measured[name] = float(tokens)
    if any(len(cast.heard) > 1 for cast in casts):  # how far the votes are apart: mean standard deviation of a choice
        measured["spread"] = fmean(_spread(cast) for cast in casts if cast.heard)
    return measured


def _spread(cast: Cast) -> float:
    means = cast.probabilities
    return math.sqrt(
        fmean(fmean((reply.probabilities[k] - mean) ** 2 for reply in cast.heard) for k, mean in enumerate(means))
    )
