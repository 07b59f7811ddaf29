"""What the journal has of each answer or pair, all criteria together, and what is counted about it on the way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from rlaif_core import ConfigError, Prompt
from rlaif_judges.label.config import LabelTable, What
from rlaif_judges.label.journal import Journal
from rlaif_judges.label.questions import Places, Questions, Unit

OF_ONE = frozenset({"calls", "tokens_in", "tokens_out", "margin"})
"""What is measured about a question and has no mean: sums, and what depends on which answer was shown first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a judge said of some of the answers to a prompt: a value and a reason for each place, or why there is none.

    `by_criterion` [criteria][places] holds the values before they were averaged by weight.
    """

    values: tuple[float, ...] = ()
    reasons: tuple[str, ...] = ()
    by_criterion: tuple[tuple[float, ...], ...] = ()
    cost: float = 0.0
    lacking: tuple[Mapping[str, Any], ...] = ()

    @property
    def margin(self) -> float:
        """Of two answers, half the difference between their values."""
        return (self.values[0] - self.values[1]) / 2


@dataclass(slots=True)
class Count:
    """What is counted for one kind of label and one judge; `means` are lists of what was measured about questions."""

    labelled: int = 0
    abstained: int = 0
    failed: int = 0
    ties: int = 0
    calls: int = 0
    cost: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    means: dict[str, list[float]] = field(default_factory=dict)

    def noted(self, name: str, value: float) -> None:
        """Take in one more value of which the mean is told."""
        total = self.means.setdefault(name, [0.0, 0.0])
        total[0], total[1] = total[0] + value, total[1] + 1

    def told(self) -> dict[str, Any]:
        """All of it, as JSON."""
        names = ("labelled", "abstained", "failed", "ties", "calls", "tokens_in", "tokens_out")
        counts: dict[str, Any] = {name: getattr(self, name) for name in names}
        counts |= {"cost": self.cost, "seconds": round(self.seconds, 3)}
        return counts | {name: total / count for name, (total, count) in self.means.items() if count}


class Results:
    """Reads the journal and counts."""

    def __init__(self, journal: Journal, questions: Questions, table: LabelTable) -> None:
        self._journal, self._questions, self._table = journal, questions, table
        self.counts: dict[tuple[What, str], Count] = {}

    def count(self, what: What, judge: str) -> Count:
        """What is counted for this kind and judge."""
        if (what, judge) not in self.counts:
            self.counts[what, judge] = Count(seconds=self._journal.seconds.get((what, judge), 0.0))
        return self.counts[what, judge]

    def judged(self, what: What, judge: str, prompt: Prompt, places: Places) -> Judged:
        """What a judge said, counted; a label only where it said something by every criterion."""
        count, criteria = self.count(what, judge), self._questions.standards.of(prompt)
        units = [Unit(what, judge, prompt, places, number) for number in range(len(criteria))]
        records = [self._journal.get(unit.key) or {"state": "failed", "reason": "it was not asked"} for unit in units]
        for record in records:
            self._measured(count, record)
        cost = math.fsum(record.get("cost", 0.0) for record in records)
        failed = any(record["state"] == "failed" for record in records)
        if lacking := [record for record in records if record["state"] != "done"]:
            count.failed, count.abstained = count.failed + failed, count.abstained + (not failed)
            return Judged(cost=cost, lacking=tuple(lacking))
        count.labelled += 1
        by_criterion = tuple(tuple(record["values"]) for record in records)
        weights = [criterion.weight for criterion in criteria]
        if len(criteria) == 1:
            return Judged(
                values=by_criterion[0], reasons=tuple(records[0]["reasons"]), by_criterion=by_criterion, cost=cost
            )
        return Judged(
            values=tuple(fmean(its, weights) for its in zip(*by_criterion, strict=True)),
            reasons=tuple(
                "; ".join(
                    f"{criterion.name or 'criterion'} {record['values'][at]:+.2f}: {record['reasons'][at]}"
                    for criterion, record in zip(criteria, records, strict=True)
                )
                for at in range(len(places))
            ),
            by_criterion=by_criterion,
            cost=cost,
        )

    def _measured(self, count: Count, record: Mapping[str, Any]) -> None:
        count.cost += record.get("cost", 0.0)
        measured = record.get("measured")
        if measured is None:
            return
        count.calls += int(measured.get("calls", 1))
        count.tokens_in += int(measured.get("tokens_in", 0))
        count.tokens_out += int(measured.get("tokens_out", 0))
        for name, value in measured.items():
            if name not in OF_ONE:
                count.noted(name, value)
        if len(values := record.get("values", ())) == 2 and values[0] != values[1]:
            count.noted("first_preferred", float((values[0] > values[1]) == record["first"]))

    def wrote(self, what: What, judge: str, record: Mapping[str, Any]) -> None:
        """Count a text, or that there is none."""
        count = self.count(what, judge)
        count.labelled += record["state"] == "done"
        count.abstained += record["state"] in ("abstained", "spent")
        count.failed += record["state"] == "failed"
        count.cost, count.calls = count.cost + record["cost"], count.calls + record.get("calls", 0)
        tokens = record.get("tokens", (0, 0))
        count.tokens_in, count.tokens_out = count.tokens_in + tokens[0], count.tokens_out + tokens[1]
        if "cut" in record:
            count.noted("cut", float(record["cut"]))

    def probability(self, judge: str, margin: float) -> float:
        """How probably the first of two answers is the better one, by a margin (`[label] probability`)."""
        if self._table.probability == "logistic":
            return 1 / (1 + math.exp(-min(max(2 * margin, -700.0), 700.0)))
        if abs(margin) > 1 + 1e-9:
            raise ConfigError(
                f"judge {judge!r} compares by scores that are {2 * abs(margin):.3g} apart, which is no probability: "
                'its scores are not from -1 to 1. Set [label] probability = "logistic", and call again: nothing is '
                "paid twice"
            )
        return min(max((1 + margin) / 2, 0.0), 1.0)

    def tied(self, probability: float) -> bool:
        """Whether that is a tie."""
        return abs(probability - 0.5) <= self._table.tie + 1e-12


def listed(what: What, judge: str, prompt: Prompt, places: Sequence[int], record: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be said about something that was not answered."""
    its: dict[str, Any] = {"what": what, "judge": judge, "id": prompt.id, "answers": list(places)}
    state = "failed" if record["state"] == "failed" else "abstained"
    return its | {"state": state, "reason": record["reason"], "cost": record.get("cost", 0.0)}
