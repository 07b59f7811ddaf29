"""Where the sources of bench_fusion.py come from: public data that people or models judged, and the embedded world.

Every loader says what is taken for gold, and keeps it out of the sources.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

Said = list[float | None]
SAMPLES = 8
"""Answers of the policy to each prompt, whose agreement says how sure it is of one."""
PREFERENCES = 500
NOISE, LAPSES = 0.5, 0.1
"""Of a simulated person: spread of what an answer feels like, in units of gold, and share of random choices."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Pairs that several sources judged. `gold`: 1 where the first is better, 0, or None; `groups`: what must not be
    parted between trusted and held out (an instruction, a conversation)."""

    name: str
    gold: Said
    sources: dict[str, Said]
    groups: list[str]
    kinds: dict[str, str] = field(default_factory=dict)
    positions: dict[str, Said] = field(default_factory=dict)
    lengths: list[float] | None = None
    told: str = ""


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file with an object a line."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def longer(first: Any, second: Any) -> float:
    """By how much the first text is longer, from -1 to 1."""
    one, other = len(str(first)), len(str(second))
    return (one - other) / (one + other) if one + other else 0.0


def pandalm(folder: Path, gold: int) -> Problem:
    """Three people judged each pair; one of them is gold, the others are sources, and so is the longer answer."""
    codes: dict[int, float] = {0: 0.5, 1: 1.0, 2: 0.0}
    judged = [row for row in rows(folder / "pref_pandalm.jsonl") if isinstance(row["response1"], str)]
    lengths = [longer(row["response1"], row["response2"]) for row in judged]
    sources: dict[str, Said] = {
        f"annotator {number}": [codes[row[f"annotator{number}"]] for row in judged]
        for number in (1, 2, 3)
        if number != gold
    }
    return Problem(
        name=f"pandalm, annotator {gold} is gold",
        gold=[codes[row[f"annotator{gold}"]] for row in judged],
        sources=sources | {"length": list(lengths)},
        kinds={"length": "score"},
        groups=[f"{row['instruction']}\n{row['input']}" for row in judged],
        told="gold is the third person's opinion of the same pair; ties in gold are left out",
    )


def llmbar(folder: Path, orders: str = "both") -> Problem:
    """Five models judged each pair in two ways and both orders; gold is the benchmark's label.

    `orders` "both": a source's vote is its verdict where both orders agree, else neither; "one": of each pair one
    order, drawn at random, is all that was asked (half the price), with the position known.
    """
    judged = rows(folder / "judge_llmbar.jsonl")
    items = list(dict.fromkeys(row["item"] for row in judged))
    label = {row["item"]: float(row["label"] == 1) for row in judged}
    heard: dict[str, dict[tuple[str, bool], float]] = {}
    for row in judged:
        if row["winner"] is not None:
            name = f"{row['judge']} {row['strategy']}"
            heard.setdefault(name, {})[row["item"], row["swap"]] = float(row["winner"] == 1)
    random = Random(0)
    swaps = {item: random.random() < 0.5 for item in items}
    sources: dict[str, Said] = {}
    for name, said in heard.items():
        both = [[said[item, swap] for swap in (False, True) if (item, swap) in said] for item in items]
        once = [said.get((item, swaps[item])) for item in items]
        sources[name] = [sum(its) / len(its) if its else None for its in both] if orders == "both" else once
    positions: dict[str, Said] = {name: [-1.0 if swaps[item] else 1.0 for item in items] for name in sources}
    return Problem(
        name=f"llmbar, {orders} order{'s' if orders == 'both' else ''}",
        gold=[label[item] for item in items],
        sources=sources,
        groups=items,
        positions=positions if orders == "one" else {},
        told="gold is the benchmark's label, which its authors agreed on",
    )


def alpaca(folder: Path) -> Problem:
    """Three GPT-4 judges; the one that reasons before it decides is gold: agreement with a better judge, not truth."""
    judged = rows(folder / "ai_feedback_alpaca_eval.jsonl")
    names = {"weighted_alpaca_eval_gpt4_turbo": "weighted", "alpaca_eval_gpt4_turbo_fn": "function"}

    def first(row: dict[str, Any], judge: str) -> float | None:
        said = row["preferences"].get(judge)
        return None if said is None else min(1.0, max(0.0, 2 - said))

    gold = [first(row, "alpaca_eval_cot_gpt4_turbo_fn") for row in judged]
    lengths = [longer(row["output_1"], row["output_2"]) for row in judged]
    sources: dict[str, Said] = {name: [first(row, judge) for row in judged] for judge, name in names.items()}
    return Problem(
        name="alpaca_eval, the reasoning judge is gold",
        gold=gold,
        sources=sources | {"length": list(lengths)},
        kinds={"weighted": "probability", "function": "probability", "length": "score"},
        groups=[row["instruction"] for row in judged],
        told="gold is another AI judge; the answers are two models', nearly always the first model's is better",
    )


def lumen(seed: int, families: int = 400) -> Problem:
    """Answers of the embedded world: noisy labels where annotators know the facts, the policy's agreement with itself,
    the packaged judge, and 500 preferences of a simulated person; gold is the oracle's score."""
    from rlaif_core import Prompt, Question, Score
    from rlaif_lumen.evaluate import sampled
    from rlaif_lumen.judge import LumenJudge
    from rlaif_lumen.policy import TinyPolicy
    from rlaif_lumen.recipe.__main__ import answered
    from rlaif_lumen.recipe.labels import School, covered_keys
    from rlaif_lumen.world import make_world

    policy, judge, random = TinyPolicy(device="cpu"), LumenJudge(), Random(seed)
    world = make_world()
    school = School(world, covered_keys(world, 1), f"{seed}/fusion")  # what the packaged judge's annotators know
    made = answered(school, policy, families)
    repeated = [
        Prompt(id=f"{number}-{sample}", messages=tuple(family.messages))
        for number, family in enumerate(made)
        for sample in range(SAMPLES)
    ]
    samples = sampled(policy)(repeated)
    names = ("noisy labels", "self-consistency", "judge", "preferences")
    sources: dict[str, Said] = {name: [] for name in names}
    gold, groups, lengths = [], [], []
    for number, family in enumerate(made):
        prompt = Prompt(id=str(number), messages=tuple(family.messages))
        answers = tuple(its.answer for its in family.answers)
        (verdict,) = judge.ask([Question(prompt=prompt, answers=answers)])
        judged = [said.value if isinstance(said, Score) else None for said in verdict.outcomes]
        meant = Counter(map(core, samples[number * SAMPLES : (number + 1) * SAMPLES]))
        agreed = [meant[core(answer)] / SAMPLES for answer in answers]
        for one, other in compared(family, random):
            first, second = family.answers[one], family.answers[other]
            better = first.grade.score - second.grade.score
            gold.append(0.5 if better == 0 else float(better > 0))
            sources["noisy labels"].append(float(first.utility > second.utility) if family.covered else None)
            sources["self-consistency"].append(agreed[one] - agreed[other])
            a, b = judged[one], judged[other]
            sources["judge"].append(None if a is None or b is None else a - b)
            felt = better + random.gauss(0, NOISE)
            sources["preferences"].append(float((felt > 0) != (random.random() < LAPSES / 2)))
            groups.append(str(number))
            lengths.append(longer(first.answer, second.answer))
    asked = set(random.sample(range(len(gold)), min(PREFERENCES, len(gold))))
    sources["preferences"] = [said if row in asked else None for row, said in enumerate(sources["preferences"])]
    return Problem(
        name="lumen",
        gold=gold,
        sources=sources,
        kinds={"self-consistency": "score", "judge": "score"},
        groups=groups,
        lengths=lengths,
        told="gold is the exact oracle of the embedded world; ties in gold are left out",
    )


def compared(family: Any, random: Random) -> list[tuple[int, int]]:
    """Two pairs a family: any two answers that differ."""
    places = range(len(family.answers))
    answers = [its.answer for its in family.answers]
    different = [(a, b) for a in places for b in places if answers[a] != answers[b]]
    return random.sample(different, min(2, len(different)))


def core(answer: str) -> object:
    """What an answer commits to, whatever fillers and quirks stand around it."""
    from rlaif_lumen.parse import read_reply

    reply = read_reply(answer)
    said = (reply.claims, reply.stories, reply.asks_back, reply.called, reply.described, reply.sure)
    return (*said, bool(reply.ignorance), bool(reply.kindness), bool(reply.greetings))


def split(problem: Problem, trusted: int, seed: int) -> tuple[list[int], list[int]]:
    """Rows that are trusted and rows that are held out, all of gold that takes sides; groups are never parted."""
    members: dict[str, list[int]] = {}
    for row, (group, gold) in enumerate(zip(problem.groups, problem.gold, strict=True)):
        if gold in (0.0, 1.0):
            members.setdefault(group, []).append(row)
    order = sorted(members)
    Random(f"fusion/{seed}").shuffle(order)
    chosen: list[int] = []
    rest: list[int] = []
    for group in order:
        (chosen if len(chosen) < trusted else rest).extend(members[group])
    return chosen, rest


def only(labels: Sequence[float | None], rows_: Sequence[int]) -> Said:
    """The labels of some rows, None elsewhere."""
    kept = set(rows_)
    return [label if row in kept else None for row, label in enumerate(labels)]
