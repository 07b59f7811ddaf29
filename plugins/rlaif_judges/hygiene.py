"""What makes a judge's word worth trusting, as options of its table: both orders, votes, reasons, when to abstain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rlaif_core import ConfigError
from rlaif_core.options import OptionGroup
from rlaif_judges.forms import Style


@dataclass(frozen=True, slots=True, kw_only=True)
class Hygiene(OptionGroup):
    """How a language model is asked.

    orders: answers that are compared or ranked are shown in "both" orders (twice the calls), or in "one". flips: what
    to say of two answers where each order names another one the better: "average" the probabilities, call it a "tie",
    or "abstain". votes: how often all is asked, at `temperature` (with judges in this process the one of reasons).
    reasons: the judge first writes what speaks for and against, in at most `reason_tokens`, and then chooses; they
    stand in the ledger. levels: of a score, 2 to 9, where the rubric names none. ties: "neither is better" is a choice.
    confidence: below it the judge abstains; of a comparison how far apart the answers came out (0 to 1), of a level 1 -
    entropy / log(levels). framed: texts stand between marks with nonces, without what is invisible or steers a model.
    longest: characters of a text that are shown; the middle of longer ones is left out. calibration: a file that `rlaif
    judge` wrote by `exam.calibrate`; it makes the probabilities of comparisons honest, and changes neither levels nor
    rankings.
    """

    orders: Literal["both", "one"] = "both"
    flips: Literal["average", "tie", "abstain"] = "average"
    votes: int = 1
    temperature: float = 0.0
    reasons: bool = False
    reason_tokens: int = 256
    levels: int = 5
    ties: bool = False
    confidence: float = 0.0
    framed: bool = True
    longest: int = 20_000
    calibration: str = ""

    def __post_init__(self) -> None:
        checks = (
            (self.votes >= 1, f"votes is {self.votes}, but must be at least 1"),
            (0 <= self.temperature <= 2, f"temperature is {self.temperature}, but must be in [0, 2]"),
            (
                self.votes == 1 or self.temperature > 0,
                f"{self.votes} votes at temperature 0 would all be the same; set temperature = 0.7, or votes = 1",
            ),
            (2 <= self.levels <= 9, f"levels is {self.levels}, but must be 2 to 9: each is one digit"),
            (0 <= self.confidence < 1, f"confidence is {self.confidence}, but must be in [0, 1)"),
            (self.reason_tokens >= 1, f"reason_tokens is {self.reason_tokens}, but must be at least 1"),
            (self.longest >= 100, f"longest is {self.longest}, but must be at least 100 characters"),
            (
                self.orders == "both" or self.flips == "average",
                f"flips = {self.flips!r} needs both orders; drop it, or set orders = 'both'",
            ),
        )
        for holds, complaint in checks:
            if not holds:
                raise ConfigError(f"judge: {complaint}")

    def insist_that_votes_differ(self, judge: str) -> None:
        """Raise ConfigError where a judge whose probabilities are read, and not drawn, would say the same again."""
        if self.votes > 1 and not self.reasons:
            raise ConfigError(
                f"judge {judge}: its probabilities are read and not drawn, so {self.votes} votes would all say the "
                "same; set reasons = true, or votes = 1"
            )

    @property
    def style(self) -> Style:
        """What of it the forms need."""
        return Style(
            orders=2 if self.orders == "both" else 1,
            levels=self.levels,
            ties=self.ties,
            framed=self.framed,
            longest=self.longest,
        )
