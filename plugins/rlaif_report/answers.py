"""Which answers a report shows: the same prompts early and late, the best and worst, and a fair sample of the rest.

What models and judges write is hostile text: characters that hide or reorder it are spelt out here, once, and the page
escapes the rest. Texts are read step by step, so that a run may hold far more answers than memory does.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

from rlaif_core.record import read_rollouts, rollout_files, rows_of
from rlaif_report.charts import score, signed

LONGEST_TEXT = 4000  # characters of a prompt or an answer that are shown
LONGEST_REASON = 1000
MOST_ANSWERS = 5000  # in the table of outcomes
MOST_BYTES = 3_500_000

Item = TypeVar("Item")

# Controls, bidirectional overrides, zero-width and invisible characters, tags, selectors beyond the usual ones, halves
# of surrogate pairs. Joiners are left alone between letters of scripts (and emoji) that are written with them.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
    "|(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])"
)


def visible(text: str, longest: int = LONGEST_TEXT) -> str:
    """`text` with hidden characters spelt out as ⟦U+202E⟧, and cut with a word about it beyond `longest` characters."""
    left_out = len(text) - longest
    shown = HIDDEN.sub(lambda found: f"⟦U+{ord(found[0]):04X}⟧", text[:longest].replace("\r\n", "\n"))
    return f"{shown} … ({left_out:,} more characters)" if left_out > 0 else shown


@dataclass(frozen=True, slots=True)
class Said:
    """What one source said about one answer; `value` is None unless it gave a score, `counts` is how it counts."""

    source: str
    kind: str
    value: float | None
    reason: str
    counts: str

    def __str__(self) -> str:
        return {"abstain": "abstained"}.get(self.kind, self.kind) if self.value is None else score(self.value)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, ready to be shown."""

    step: int
    prompt: str
    completion: str
    reward: float | None
    finish: str
    said: tuple[Said, ...]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Answer:
        """From a recorded row."""
        reward = row["reward"]
        return cls(
            step=row["step"],
            prompt=visible(row["prompt"] or ""),
            completion=visible(row["completion"] or ""),
            reward=reward if reward is not None and isfinite(reward) else None,
            finish=row["finish"] or "",
            said=tuple(_said(source, its) for source, its in json.loads(row["outcomes"] or "{}").items()),
        )

    @property
    def verdict(self) -> str:
        """The reward in words."""
        return "no reward" if self.reward is None else f"reward {score(self.reward)}"


@dataclass(frozen=True, slots=True)
class Pair:
    """An early and a late answer; to the same prompt where the change of the group's mean reward is known."""

    before: Answer
    after: Answer
    change: str = ""

    @property
    def same(self) -> bool:
        """Whether both answer one prompt."""
        return self.before.prompt == self.after.prompt


class Answers:
    """The recorded answers of a run folder: numbers in memory, texts on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        table = read_rollouts(folder, columns=("step", "prompt_id", "reward", "tokens"))
        self.steps: list[int] = table["step"].to_pylist()
        self.prompts: list[str] = table["prompt_id"].to_pylist()
        self.rewards: list[float | None] = table["reward"].to_pylist()
        self.tokens: int = sum(table["tokens"].to_pylist())

    def __len__(self) -> int:
        return len(self.steps)

    @cached_property
    def _first(self) -> dict[int, int]:
        """The number of the first answer of each step; files hold one step each, in order."""
        first: dict[int, int] = {}
        for place, step in enumerate(self.steps):
            first.setdefault(step, place)
        return first

    def fetch(self, places: Sequence[int]) -> list[Answer]:
        """The answers at `places`, in that order; reads each step's file once."""
        files = rollout_files(self.folder)
        wanted: dict[int, list[int]] = defaultdict(list)
        for place in places:
            wanted[self.steps[place]].append(place)
        found: dict[int, Answer] = {}
        for step, mine in wanted.items():
            rows = rows_of(files[step], [place - self._first[step] for place in mine])
            found |= {place: Answer.of(row) for place, row in zip(mine, rows, strict=True)}
        return [found[place] for place in places]

    def pairs(self, count: int = 6) -> list[Pair]:
        """Early and late answers side by side, from the prompt that gained most to the one that gained least.

        Of each group the answer nearest to its mean reward is shown. Prompts that occur in both the first and the last
        third of the run are compared with themselves; where there are none, the first step stands against the last.
        """
        if len(self._first) < 2:
            return []
        return self._same_prompts(count) or self._first_and_last(count // 2)

    def _same_prompts(self, count: int) -> list[Pair]:
        start, third = self.steps[0], (self.steps[-1] - self.steps[0]) / 3
        groups: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for place, (step, prompt) in enumerate(zip(self.steps, self.prompts, strict=True)):
            if not start + third < step < start + 2 * third:
                groups[prompt][step].append(place)
        changes = []
        for by_step in groups.values():
            early, late = by_step[min(by_step)], by_step[max(by_step)]
            if max(by_step) - min(by_step) > third:
                before, after = self._mean(early), self._mean(late)
                change = None if before is None or after is None else after - before
                changes.append((change or 0.0, change, self._typical(early), self._typical(late)))
        chosen = evenly(sorted(changes, key=lambda found: (-found[0], found[2])), count)
        answers = self.fetch([place for _, _, *both in chosen for place in both])
        told = ["" if change is None else signed(change) for _, change, *_ in chosen]
        return [Pair(answers[2 * i], answers[2 * i + 1], told[i]) for i in range(len(chosen))]

    def _first_and_last(self, count: int) -> list[Pair]:
        sides = [[p for p, s in enumerate(self.steps) if s == step] for step in (self.steps[0], self.steps[-1])]
        ranked = [self.fetch(evenly(sorted(side, key=self._rank, reverse=True), count)) for side in sides]
        return [Pair(before, after) for before, after in zip(*ranked, strict=False)]

    def extremes(self, count: int = 3) -> tuple[list[Answer], list[Answer]]:
        """Best and worst answers of the last tenth of the run, none twice; empty where rewards tell none apart."""
        since = self.steps[-1] - (self.steps[-1] - self.steps[0]) / 10 if self.steps else 0
        late = [place for place in range(len(self)) if self.steps[place] >= since and self.rewards[place] is not None]
        late.sort(key=self._rank, reverse=True)
        if len({self.rewards[place] for place in late}) < 2:
            return [], []
        half = len(late) // 2
        best, worst = late[:half][: 8 * count], late[half:][::-1][: 8 * count]
        return distinct(self.fetch(best))[:count], distinct(self.fetch(worst))[:count]

    def sample(self, most: int = MOST_ANSWERS) -> list[int]:
        """Places of at most `most` answers, spread evenly over the steps and within each."""
        places: dict[int, list[int]] = defaultdict(list)
        for place, step in enumerate(self.steps):
            places[step].append(place)
        steps = evenly(list(places), most)
        share = most // max(len(steps), 1)
        return [place for step in steps for place in evenly(places[step], share)]

    def _rank(self, place: int) -> float:
        reward = self.rewards[place]
        return float("-inf") if reward is None else reward

    def _mean(self, places: Sequence[int]) -> float | None:
        rewards = [reward for place in places if (reward := self.rewards[place]) is not None]
        return sum(rewards) / len(rewards) if rewards else None

    def _typical(self, places: Sequence[int]) -> int:
        mean = self._mean(places)
        if mean is None:
            return places[0]
        return min((p for p in places if self.rewards[p] is not None), key=lambda p: abs(self._rank(p) - mean))


def ledger(answers: Answers, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """A fair sample of all outcomes, small enough for a page: what its table shows, ready for JSON.

    {"answers": [[step, prompt, completion, reward, finish, [[source, kind, value, reason], ...]], ...], "prompts":
    [text, ...], "sources": [name, ...]}; prompts and sources stand as indices.
    """
    shown = answers.fetch(answers.sample())
    while (size := sum(_size(answer) for answer in shown)) > most_bytes:
        shown = evenly(shown, min(len(shown) - 1, len(shown) * most_bytes // size))
    prompts = {text: place for place, text in enumerate(dict.fromkeys(answer.prompt for answer in shown))}
    counts = Counter(said.source for answer in shown for said in answer.said)
    sources = {name: place for place, name in enumerate(sorted(counts))}
    said = [[[sources[its.source], its.kind, its.value, its.reason] for its in answer.said] for answer in shown]
    rows = [
        [answer.step, prompts[answer.prompt], answer.completion, answer.reward, answer.finish, its]
        for answer, its in zip(shown, said, strict=True)
    ]
    return {"answers": rows, "prompts": list(prompts), "sources": list(sources)}


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` of `items`, the first and the last among them, the rest at even distances."""
    if len(items) <= count:
        return list(items)
    if count < 2:
        return list(items[:count])
    return [items[round(place * (len(items) - 1) / (count - 1))] for place in range(count)]


def distinct(answers: Sequence[Answer]) -> list[Answer]:
    """Without those that repeat an earlier one's text."""
    first: dict[str, Answer] = {}
    for answer in answers:
        first.setdefault(answer.completion, answer)
    return list(first.values())


def _said(source: str, its: Mapping[str, Any]) -> Said:
    value = its.get("value")
    finite = isinstance(value, int | float) and isfinite(value)
    reason = visible(str(its.get("reason") or ""), LONGEST_REASON)
    weight, channel = its.get("weight", 1.0), str(its.get("channel", "reward"))
    counts = "" if weight == 1.0 else f" × {weight:g}"
    counts += "" if channel == "reward" else " (cost)"
    return Said(visible(source, 100), str(its.get("kind", "score")), value if finite else None, reason, counts)


def _size(answer: Answer) -> int:
    """About how many bytes an answer takes in the page, where `<`, `>`, `&` and `'` are written as six."""
    texts = (answer.prompt, answer.completion, *(said.reason for said in answer.said))
    escaped = sum(len(text.encode()) + 5 * sum(map(text.count, "<>&'")) + text.count("\n") for text in texts)
    return escaped + 40 * (1 + len(answer.said))
