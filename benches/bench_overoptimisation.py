"""How far a judge of the embedded world can be pressed before what was meant falls, and which defence changes that.

Best-of-n and reinforcement learning against the packaged judge and against defended ones, in an oracle's view, which
trains nothing. What counts is gold at equal KL: a penalty or an early stop only chooses a point of a curve. Everything
that was made stays in the work folder, so that an interrupted bench goes on.

    python benches/bench_overoptimisation.py [--quick] [--save] [--work DIR]
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from lumen_gold import gold, oracle
from lumen_judges import averaged, judges
from overoptimised import STEPS, Course, Defence, hacks, watched
from overoptimised_page import figure, page

from rlaif_core import Prompt, Question, Sampling, Score
from rlaif_core.combining import mean, minimum, soft_minimum
from rlaif_core.policy import TransformersPolicy
from rlaif_guards.frontier import fitted
from rlaif_guards.selection import best_of_kl, best_of_weights, expected, quantile_weights
from rlaif_lumen.evaluate import FRESH, MAX_TOKENS, as_prompts
from rlaif_lumen.judge import LumenJudge
from rlaif_lumen.policy import FOLDER
from rlaif_lumen.prompts import prompts
from rlaif_lumen.recipe.__main__ import Budget

HERE = Path(__file__).resolve().parent
PAGE, FIGURE = HERE / "results" / "overoptimisation.md", HERE / "results" / "overoptimisation.svg"
SEEDS = (11, 12, 13)
SCHOOL = Budget(label_steps=600, families=2600)
"""Of the new judges; two thirds of the packaged judge's."""
SIZES = (1, 2, 4, 8, 16, 32, 64)
BETA = 0.05
SOFT = 0.3
"""beta of the soft minimum, in units of gold."""


def pool(work: Path, count: int, size: int, panel: Mapping[str, LumenJudge]) -> list[dict[str, Any]]:
    """`size` answers of the policy as it is to each of `count` prompts about people whom no run asks about: what they
    are worth, and what each judge says."""
    file = work / f"pool-{count}-{size}.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else _drawn(count, size)
    asked = as_prompts(prompts(count, FRESH, "holdout"))
    for name, judge in panel.items():
        if name not in found[0]:
            for prompt, row in zip(asked, found, strict=True):
                row[name] = scores(judge, prompt, row["answers"])
    work.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found), encoding="utf-8")
    return found


def _drawn(count: int, size: int) -> list[dict[str, Any]]:
    asked = as_prompts(prompts(count, FRESH, "holdout"))
    sampler = TransformersPolicy(FOLDER, device="cpu").sampler(seed=0, step=0, group=size)
    rows = []
    for prompt in asked:
        answers = sampler.sample([prompt], Sampling(max_tokens=MAX_TOKENS)).completions
        grades = [oracle().grade(prompt.messages, answer) for answer in answers]
        rows.append(
            {
                "answers": list(answers),
                "gold": gold(Question(prompt=prompt, answers=answers)),
                "filler": [float(grade.reply.fillers) for grade in grades],
                "length": [float(grade.reply.length) for grade in grades],
            }
        )
    return rows


def scores(judge: LumenJudge, prompt: Prompt, answers: Sequence[str]) -> list[float]:
    """What the judge says of each answer; of what is in no language of the world, the least."""
    said = judge.ask([Question(prompt=prompt, answers=(answer,)) for answer in answers])
    outcomes = [verdict.outcomes[0] for verdict in said]
    return [outcome.value if isinstance(outcome, Score) else -10.0 for outcome in outcomes]


Proxy = Callable[[Mapping[str, Sequence[float]]], Sequence[float]]
"""Of a prompt's answers in the pool, what a defended judge would say of each."""


def proxies(members: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> dict[str, Proxy]:
    """Each judge, plain or defended, whose best of n is looked at."""

    def together(combine: Callable[[Sequence[float], Sequence[float]], float]) -> Proxy:
        return lambda row: [
            combine(said, [1.0] * len(said)) for said in zip(*(row[its] for its in members), strict=True)
        ]

    slope = _slope(rows)
    found: dict[str, Proxy] = {
        "packaged judge": lambda row: row["packaged"],
        "packaged judge, length-free": lambda row: [
            value - slope * length for value, length in zip(row["packaged"], row["length"], strict=True)
        ],
    }
    if members:
        found |= {f"new judge {name.removeprefix('judge-')}": lambda row, name=name: row[name] for name in members}
        found |= {
            "new judges, mean": together(mean),
            "new judges, minimum": together(minimum),
            "new judges, soft minimum": together(lambda r, w: soft_minimum(r, w, beta=SOFT)),
            "new judges, weights averaged": lambda row: row["averaged"],
        }
    return found | {"gold itself": lambda row: row["gold"]}


def undefended(name: str, pressed: Mapping[str, Proxy]) -> list[Proxy]:
    """What a judge is compared with: a panel with its members alone, all else with the packaged judge."""
    members = [of for other, of in pressed.items() if other.startswith("new judge ")]
    return members if name.startswith("new judges, ") else [pressed["packaged judge"]]


def _slope(rows: Sequence[Mapping[str, Any]]) -> float:
    """Of the packaged judge on length, within prompts."""
    products = squares = 0.0
    for row in rows:
        away = [length - fmean(row["length"]) for length in row["length"]]
        products += math.fsum(x * y for x, y in zip(away, row["packaged"], strict=True))
        squares += math.fsum(x * x for x in away)
    return products / squares


def best_of(
    name: str, proxy: Proxy, rows: Sequence[Mapping[str, Any]], sizes: Sequence[int], plain: Sequence[Proxy]
) -> Course:
    """Gold of best of n for each n, by the unbiased estimator, and fillers of the largest n.

    It is above what the `plain` judges, without a defence, reach on average.
    """
    golds, proxies_, above, fillers = [], [], [], 0.0
    for n in sizes:
        weights = best_of_weights(len(rows[0]["gold"]), n)
        said = [(proxy(row), row) for row in rows]
        found = [expected(its, row["gold"], weights) for its, row in said]
        without = [fmean(expected(its(row), row["gold"], weights) for its in plain) for row in rows]
        differences = [one - other for one, other in zip(found, without, strict=True)]
        golds.append((fmean(found), _error(found)))
        above.append((fmean(differences), _error(differences)))
        proxies_.append(fmean(expected(its, its, weights) for its, _ in said))
        fillers = fmean(expected(its, row["filler"], weights) for its, row in said)
    kl, means = [best_of_kl(n) for n in sizes], [mean_ for mean_, _ in golds]
    curve = fitted("best_of_n", [math.sqrt(it) for it in kl], [it - means[0] for it in means])
    return Course(name, kl, means, proxies_, {"filler": fillers}, curve, [error for _, error in golds], above)


def quantiles(rows: Sequence[Mapping[str, Any]], sizes: Sequence[int]) -> Course:
    """Gold of a quantiliser over the packaged judge, q = 1/n; its KL is log n."""
    points = []
    for n in sizes:
        golds = [expected(row["packaged"], row["gold"], quantile_weights(len(row["gold"]), 1 / n)) for row in rows]
        points.append((math.log(n), fmean(golds), 0.0, _error(golds)))
    kl, golds_, proxies_, errors = zip(*points, strict=True)
    return Course("packaged judge, quantiliser", kl, golds_, proxies_, {}, error=errors)


def _error(values: Sequence[float]) -> float:
    return stdev(values) / math.sqrt(len(values))


def defences(members: Sequence[Path], warm: Path | None) -> dict[str, Defence]:
    """What takes the place of the undefended run's tables, by the name of each run."""

    def shaped(**shape: Any) -> list[dict[str, Any]]:
        return [{"use": "judge", "judge": "main", "shape": shape}]

    found: dict[str, Defence] = {
        "b0": {},
        "b05": {"kl": BETA},
        "b15": {"kl": 0.15},
        "b30": {"kl": 0.3},
        "par": {"kl": BETA, "rewards": shaped(kind="bounded", reference="start")},
        "lenfree": {"kl": BETA, "rewards": shaped(kind="length_free")},
    }
    if members and warm:
        one = {its.name: {"use": "tiny", "model": str(its)} for its in members}
        for combine in ("mean", "minimum", "soft_minimum"):
            panel = {"use": "ensemble", "judges": list(one), "combine": combine, "beta": SOFT}
            found[combine] = {"kl": BETA, "judges": {**one, "main": panel}}
        found["single"] = {"kl": BETA, "judges": {"main": {"use": "tiny", "model": str(members[0])}}}
        found["warm"] = {"kl": BETA, "judges": {"main": {"use": "tiny", "model": str(warm)}}}
    return found


def stopped(undefended: Sequence[Course], work: Path) -> list[Course]:
    """The same runs as if the canary's alarm had ended them; those without one go to their end."""
    found = []
    for its in undefended:
        last = its.alarm or len(its.kl)
        courses = {name: getattr(its, name)[:last] for name in ("kl", "gold", "proxy")}
        found.append(replace(its, **courses, hacks=hacks(work / "runs" / its.name, until=last), frontier=None))
    return found


def course(name: str, work: Path, seeds: int, steps: int, defence: Defence) -> list[Course]:
    """The runs of a defence, a seed each."""
    found = []
    for seed in range(seeds):
        run = f"{name}-{seed}"
        lines = [it for it in watched(work, name, seed, steps, defence) if {"reward/kl", "canary/gold"} <= it.keys()]
        kl, golds = [-it["reward/kl"] for it in lines], [it["canary/gold"] for it in lines]
        curve = fitted("rl", [math.sqrt(max(it, 0)) for it in kl], [it - golds[0] for it in golds])
        proxy = [it.get("unshaped/judge", it["canary/proxy"]) for it in lines]
        alarm = next((int(it["step"]) for it in lines if it["canary/alarm"]), None)
        found.append(Course(run, kl, golds, proxy, hacks(work / "runs" / run), curve, alarm=alarm))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a quarter of the steps, one seed, no new judges")
    parser.add_argument("--save", action="store_true", help=f"write {PAGE.relative_to(HERE.parent)} and its figure")
    parser.add_argument("--work", type=Path, default=Path("runs/overoptimisation"), help="where runs and judges stay")
    parser.add_argument("--only", nargs="*", help="these runs alone, by name")
    parser.add_argument("--seeds", type=int, default=5, help="of each run")
    options = parser.parse_args()
    torch.set_num_threads(2)
    folders = [] if options.quick else judges(options.work / "judges", SEEDS, SCHOOL)
    warm = averaged(options.work / "judges" / "averaged", folders) if folders else None
    panel = {"packaged": LumenJudge()} | {its.name: LumenJudge(str(its)) for its in folders}
    panel |= {"averaged": LumenJudge(str(warm))} if warm else {}
    sizes = SIZES[:5] if options.quick else SIZES
    rows = pool(options.work, 24 if options.quick else 160, sizes[-1], panel)
    pressed = proxies([its.name for its in folders], rows)
    selected = [best_of(name, of, rows, sizes, undefended(name, pressed)) for name, of in pressed.items()]
    selected.append(quantiles(rows, sizes))
    runs = {}
    for name, defence in defences(folders, warm).items():
        if options.only is None or name in options.only:
            steps, many = (STEPS // 4, 1) if options.quick else (STEPS, options.seeds)
            runs[name] = course(name, options.work, many, steps, defence)
            print(name, *(f"gold {fmean(its.gold[-5:]):.2f} at KL {its.kl[-1]:.1f}" for its in runs[name]), flush=True)
    if any(its.alarm for its in runs.get("b0", ())):
        runs["stopped"] = stopped(runs["b0"], options.work)
    text = page(selected, runs, len(rows), sizes[-1])
    print(text)
    if options.save:
        PAGE.write_text(text, encoding="utf-8")
        FIGURE.write_text(figure(selected, runs), encoding="utf-8")


if __name__ == "__main__":
    main()
