"""What became of a labelling: counts, costs, agreement and biases, as `report.json` and as tables to be read."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from rlaif_core import Prompt
from rlaif_core.agreement import accuracy, cohen_kappa, pairwise_accuracy
from rlaif_core.errors import inert
from rlaif_core.progress import duration
from rlaif_judges.label.answers import Answers
from rlaif_judges.label.config import What
from rlaif_judges.label.gold import Gold
from rlaif_judges.label.questions import Places

Margins = Mapping[str, float | None]


class Pairs:
    """Of every pair of answers by how much each judge finds the first one better, and gold; and how long they are."""

    def __init__(self, answers: Answers, gold: Gold | None) -> None:
        self._answers, self._gold = answers, gold
        self.margins: dict[What, dict[str, list[float | None]]] = defaultdict(lambda: defaultdict(list))
        self.gold: dict[What, list[float | None]] = defaultdict(list)
        self.longer: dict[What, list[int]] = defaultdict(list)

    def add(self, what: What, prompt: Prompt, places: Places, margins: Margins) -> None:
        """One more pair."""
        one, other = places
        texts = self._answers.of(prompt)
        self.longer[what].append(len(texts[one]) - len(texts[other]))
        self.gold[what].append(self._gold(prompt, one, other) if self._gold else None)
        for judge, margin in margins.items():
            self.margins[what][judge].append(margin)

    def told(self, what: What, judge: str) -> dict[str, float | None]:
        """What the pairs say of one judge: its agreement with gold, and its liking for long answers."""
        margins = self.margins[what][judge]
        found: dict[str, float | None] = {}
        preferred = [
            extra if margin > 0 else -extra for margin, extra in zip(margins, self.longer[what], strict=True) if margin
        ]
        if preferred:
            unlike = [extra for extra in preferred if extra]
            found["longer_by"] = sum(preferred) / len(preferred)
            found["longer_preferred"] = sum(extra > 0 for extra in unlike) / len(unlike) if unlike else None
        if any(margin is not None for margin in self.gold[what]):
            found["gold_accuracy"] = pairwise_accuracy(margins, self.gold[what], ties="half")
            found["gold_kappa"] = cohen_kappa(_signs(margins), _signs(self.gold[what]))
        return found

    def between(self, what: What) -> list[dict[str, Any]]:
        """How far any two judges agree on which answer is better, ties being a third verdict."""
        signs = {judge: _signs(margins) for judge, margins in self.margins[what].items()}
        return [
            {
                "judges": [one, other],
                "pairs": sum(a is not None and b is not None for a, b in zip(signs[one], signs[other], strict=True)),
                "accuracy": accuracy(signs[one], signs[other]),
                "kappa": cohen_kappa(signs[one], signs[other]),
            }
            for one, other in combinations(signs, 2)
        ]


def _signs(margins: Sequence[float | None]) -> list[int | None]:
    return [None if margin is None else (margin > 0) - (margin < 0) for margin in margins]


COUNTS = ("labelled", "abstained", "failed", "ties", "calls", "cost", "tokens", "took")
MEASURES = {
    "gold_accuracy": "right by gold",
    "gold_kappa": "kappa with gold",
    "disagreement": "orders disagree by",
    "position_bias": "leans to the first by",
    "first_preferred": "first shown preferred",
    "longer_preferred": "longer one preferred",
    "longer_by": "preferred is longer by",
    "confidence": "confidence",
    "cut": "cut off",
}
"""What is measured about a judge, in words."""
AGREEMENT = ("accuracy", "kappa")


def shown(report: Mapping[str, Any]) -> None:
    """Print a report as tables."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 10_000)

    def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        its = Table(*titles, box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        for row in rows:
            its.add_row(*(Text(inert(cell)) for cell in row))
        console.print(its)

    table(("label", "judge", *COUNTS), [_counts(entry) for entry in report["labels"]])
    named = [name for name in MEASURES if any(entry.get(name) is not None for entry in report["labels"])]
    if named:
        console.print()
        rows = [
            (entry["what"], entry["judge"], *(_number(entry.get(name), name) for name in named))
            for entry in report["labels"]
            if any(entry.get(name) is not None for name in named)
        ]
        table(("label", "judge", *(MEASURES[name] for name in named)), rows)
    if report["agreement"]:
        console.print()
        rows = [
            (its["what"], " and ".join(its["judges"]), str(its["pairs"]), *(_number(its[n]) for n in AGREEMENT))
            for its in report["agreement"]
        ]
        table(("label", "judges", "pairs", "agree on", "kappa"), rows)
    console.print()
    for name, count in report["rows"].items():
        where = f"{count} rows in {report['folder']}/{name}"
        console.print(Text(where if count else f"no rows of {name}: nothing was labelled"))
    for state, count in ((state, sum(its[state] for its in report["labels"])) for state in ("failed", "abstained")):
        if count:
            most, often = report["reasons"][state][0]
            console.print(Text(inert(f"{count} {state}, {often} of them: {most:.200}")))


def _counts(entry: Mapping[str, Any]) -> tuple[str, ...]:
    tokens = entry["tokens_in"] + entry["tokens_out"]
    counts = [str(entry[name]) for name in ("labelled", "abstained", "failed", "ties", "calls")]
    cost = f"{entry['cost']:.4g}" if entry["cost"] else "0"
    return entry["what"], entry["judge"], *counts, cost, f"{tokens:,}" if tokens else "-", duration(entry["seconds"])


def _number(value: float | None, name: str = "") -> str:
    if value is None:
        return "-"
    return f"{value:+.1f} characters" if name == "longer_by" else f"{value:.3f}"
