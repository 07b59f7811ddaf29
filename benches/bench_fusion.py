"""What fusing sources is worth: accuracy and calibration on gold that nothing was fitted to, against every source.

Of each problem some labels are trusted, the rest held out, many times over. A source's tie, and silence, counts half.
The gain is over the source that is best on the held-out labels themselves, which nobody could have picked beforehand;
its interval is a bootstrap over groups of pairs (an instruction, a conversation), of each pair's mean over all splits.

    RLAIF_REAL_DATA=... python benches/bench_fusion.py [--splits 5] [--trusted 80] [--worlds 3] [--save]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import device
import numpy as np
from fusion_sources import Problem, alpaca, llmbar, lumen, only, pandalm, split

from rlaif_core.agreement import bootstrap
from rlaif_core.calibration import brier, calibration_error
from rlaif_core.logistic import sigmoid
from rlaif_fusion.fuse import Method, fuse

METHODS: tuple[Method, ...] = ("majority", "dawid_skene", "joint", "stacking")
UNTRUSTED = "dawid_skene, no labels"
REAL = Path(os.environ.get("RLAIF_REAL_DATA", Path(__file__).resolve().parents[2] / "shared")) / "data"
PAGE = device.RESULTS / "fusion.md"
WANTED = 0.02
"""By how much fusion has to beat the best source in the embedded world."""


def problems(worlds: int) -> Iterator[list[Problem]]:
    """Every problem, as one or more samples of it."""
    if REAL.is_dir():
        for gold in (1, 2, 3):
            yield [pandalm(REAL, gold)]
        yield [llmbar(REAL)]
        yield [llmbar(REAL, "one")]
        yield [alpaca(REAL)]
    else:
        print(f"no real data at {REAL}; set RLAIF_REAL_DATA")
    if worlds:
        yield [lumen(seed) for seed in range(worlds)]


def measure(samples: Sequence[Problem], splits: int, trusted: int) -> dict[str, Any]:
    """Figures of one problem, over its samples and `splits` divisions of each into trusted and held out."""
    scores: dict[str, list[tuple[float, float, float]]] = {}
    marks: dict[tuple[int, int], dict[str, list[float]]] = {}
    errors, held, seconds = [], [], 0.0
    for number, problem in enumerate(samples):
        for seed in range(splits):
            known, out = split(problem, trusted, seed)
            gold = np.array([problem.gold[row] for row in out], dtype=float)
            given = only(problem.gold, known)
            options: dict[str, Any] = {
                "kinds": problem.kinds,
                "positions": problem.positions,
                "lengths": problem.lengths,
            }
            said = {name: as_probabilities(problem, name) for name in problem.sources}
            for method in METHODS:
                start = time.perf_counter()
                fused = fuse(problem.sources, given, method=method, seed=seed, **options)
                seconds += time.perf_counter() - start
                said[method] = [0.5 if p is None else p for p in fused.probabilities]
            said[UNTRUSTED] = [
                0.5 if p is None else p for p in fuse(problem.sources, method="dawid_skene", **options).probabilities
            ]
            for name, column in said.items():
                probabilities = np.array([column[row] for row in out])
                right = np.where(probabilities == 0.5, 0.5, (probabilities > 0.5) == (gold == 1))
                figures = (right.mean(), brier(probabilities, gold), calibration_error(probabilities, gold))
                scores.setdefault(name, []).append(cast("tuple[float, float, float]", tuple(map(float, figures))))
                for row, mark in zip(out, right.tolist(), strict=True):
                    marks.setdefault((number, row), {}).setdefault(name, []).append(mark)
            for name, found in fused.reliability.items():
                sides = [(said[name][row], problem.gold[row]) for row in out if said[name][row] != 0.5]
                if found.value is not None and sides:
                    true = float(np.mean([(p > 0.5) == (label == 1) for p, label in sides]))
                    errors.append(abs(found.value - true))
                    noise = 1.96 * (true * (1 - true) / len(sides)) ** 0.5
                    held.append(found.low - noise <= true <= found.high + noise)  # type: ignore[operator]
    means = {
        name: dict(zip(("accuracy", "brier", "ece"), np.mean(its, 0).tolist(), strict=True))
        for name, its in scores.items()
    }
    sources = [name for name in means if name in samples[0].sources]
    best = max(sources, key=lambda name: means[name]["accuracy"])
    groups = [f"{number}/{samples[number].groups[row]}" for number, row in marks]

    def gain(rows: Sequence[float]) -> float:
        return float(np.mean(rows))

    gains = {}
    for name in (*METHODS, UNTRUSTED):
        differences = [float(np.mean(its[name]) - np.mean(its[best])) for its in marks.values()]
        found = bootstrap(gain, differences, groups=groups)
        gains[name] = {"value": found.value, "low": found.low, "high": found.high}
    return {
        "told": samples[0].told,
        "pairs": len(marks),
        "trusted": trusted,
        "best": best,
        "sources": {name: means[name] for name in sources},
        "methods": {name: means[name] for name in (*METHODS, UNTRUSTED)},
        "gains": gains,
        "reliability_error": float(np.mean(errors)),
        "reliability_covered": float(np.mean(held)),
        "seconds": seconds / (len(samples) * splits * len(METHODS)),
    }


def as_probabilities(problem: Problem, name: str) -> list[float]:
    """What a source says as probabilities, 0.5 where nothing; a score by the logistic curve, as a model of preferences
    would read it."""
    soft = problem.kinds.get(name) == "score"
    return [0.5 if said is None else float(sigmoid(said)) if soft else said for said in problem.sources[name]]


def page(found: dict[str, dict[str, Any]], splits: int) -> str:
    """The figures as Markdown."""
    lines = [
        "# What fusing sources is worth",
        "",
        f"`benches/bench_fusion.py`, means of {splits} divisions into trusted and held-out labels; a tie counts half.",
        "The gain is over the source that is best on the held-out labels, with its 95 % interval (bootstrap over",
        "groups of pairs). Where the interval holds 0, fusing is no more accurate than that source for all we know,",
        "though nobody knows beforehand which source that is. With this many labels `auto` is `stacking`.",
        "",
    ]
    for name, its in found.items():
        lines += [
            f"## {name}",
            "",
            f"{its['told'][0].upper()}{its['told'][1:]}. {its['pairs']} pairs with gold, {its['trusted']} trusted.",
            "",
            "| | accuracy | gain, in points | Brier | ECE |",
            "|---|--:|--:|--:|--:|",
        ]
        for row, figures in its["sources"].items():
            mark = " (best)" if row == its["best"] else ""
            lines.append(f"| {row}{mark} | {line(figures)[0]} | | {' | '.join(line(figures)[1:])} |")
        for row, figures in its["methods"].items():
            gain = its["gains"][row]
            told = f"{100 * gain['value']:+.1f} ({100 * gain['low']:+.1f} to {100 * gain['high']:+.1f})"
            lines.append(f"| **{row}** | {line(figures)[0]} | {told} | {' | '.join(line(figures)[1:])} |")
        lines += [
            "",
            f"Reliabilities were off by {100 * its['reliability_error']:.1f} points on average; their intervals held "
            f"the accuracy on held-out labels (within its own noise) {its['reliability_covered']:.0%} of the time.",
            "",
        ]
    return "\n".join(lines)


def line(figures: dict[str, float]) -> list[str]:
    """Accuracy, Brier score and ECE as they are printed."""
    return [f"{figures['accuracy']:.3f}", f"{figures['brier']:.3f}", f"{figures['ece']:.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--trusted", type=int, default=80)
    parser.add_argument("--worlds", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="keep the figures and the page in results/")
    options = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    for samples in problems(options.worlds):
        name = samples[0].name
        found[name] = its = measure(samples, options.splits, options.trusted)
        gain = its["gains"]["stacking"]
        print(
            f"{name}: stacking {its['methods']['stacking']['accuracy']:.3f}, {its['best']} "
            f"{its['sources'][its['best']]['accuracy']:.3f}, gain {100 * gain['value']:+.1f} points "
            f"({100 * gain['low']:+.1f} to {100 * gain['high']:+.1f}), {its['seconds']:.1f} s a fusion",
            flush=True,
        )
    if "lumen" in found:
        kept = found["lumen"]["gains"]["stacking"]["value"] >= WANTED
        print(f"in the embedded world at least {100 * WANTED:.0f} points: {'kept' if kept else 'MISSED'}")
    if options.save:
        PAGE.write_text(page(found, options.splits), encoding="utf-8")
        print("saved:", PAGE, device.save("fusion", {"splits": options.splits, "problems": found}))


if __name__ == "__main__":
    main()
