"""What `rlaif fit` is worth on public data: its kinds beside a plain TF-IDF baseline, on rows held out, several seeds.

    RLAIF_REAL_DATA=... python benches/bench_fit.py [--seeds 3] [--only NAME ...] [--kinds KIND ...] [--save]

RLAIF_REAL_DATA names a folder with data/ and models/tiny-chat; without it there is nothing to measure. The seed decides
which groups (prompts, templates, conversations) are held out. The reward model is cross-validated: each pair is judged
once a seed by a model that never saw its conversation. `--save` puts the figures of each task and kind, once they are
done, into results/fit.json and writes results/fit.md anew.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rlaif_rewards.fit.config import FitConfig
from rlaif_rewards.fit.data import READERS, Labelled, Preferences
from rlaif_rewards.fit.embedding import Encoder
from rlaif_rewards.fit.estimate import encoder_of, estimate
from rlaif_rewards.fit.evaluate import Said, baseline, by_length, judged, measured
from rlaif_rewards.fit.plot import reliability_plot
from rlaif_rewards.fit.split import folds, parted, split
from rlaif_rewards.fit.train import train
from rlaif_rewards.reading import Shown
from rlaif_rewards.scorer import Reading

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PICTURE = "fit-harmless.svg"
KINDS = ("stacked", "tfidf")
TRAINED = ("selfaware",)  # where a transformer is trained from scratch, too: minutes on two cores
BASELINE = "baseline"
HARMS = ("V", "HR", "SH", "V2", "S", "H", "H2")


class Remembering(Encoder):
    """Reads every text once, however many folds it is in."""

    def states(self, answers: Sequence[Shown], layers: Sequence[int], *, context: bool) -> torch.Tensor:
        known: dict[Any, torch.Tensor] = self.__dict__.setdefault("known", {})
        keys = [
            (context, each.context if context else "", repr(each.messages) * context, each.answer) for each in answers
        ]
        new = {key: each for key, each in zip(keys, answers, strict=True) if key not in known}
        if new:
            known |= dict(zip(new, super().states(list(new.values()), layers, context=context), strict=True))
        return torch.stack([known[key] for key in keys])


class Trained:
    """A transformer that was trained just now, as a scorer of labels."""

    problem = "exclusive"

    def __init__(self, config: FitConfig, learnt: Labelled | Preferences) -> None:
        self.trainee = train(config, learnt, lambda _: None)

    def read(self, answers: Sequence[Shown]) -> Reading:
        return Reading(self.trainee.said(self.trainee.encode(answers)), ("",) * len(answers))


# ---- rows: functions for [data] map ----


def moderation(row: dict[str, Any]) -> dict[str, Any]:
    """Harmful where any harm was found, else fine: as far as was looked for it."""
    return {"text": row["prompt"], "label": "harmful" if any(row.get(harm) == 1 for harm in HARMS) else "fine"}


def judged_truth(row: dict[str, Any], criterion: str = "truth") -> dict[str, Any] | None:
    """A question, an answer, and whether the answer is true."""
    found = re.fullmatch(r"Q: (.*?)\nA: (.*?)\n\w+:", row["prompt"], re.DOTALL)
    if row["criterion"] != criterion or not found or not found[2].strip():
        return None
    return {"prompt": found[1], "text": found[2], "label": row["completion"].strip(), "group": found[1]}


def judged_info(row: dict[str, Any]) -> dict[str, Any] | None:
    """The same for whether it says anything."""
    return judged_truth(row, "info")


def clariq(row: dict[str, Any]) -> dict[str, Any]:
    """A request, and whether people found that it needs a question back."""
    need = "ask" if row["clarification_need"] in ("3", "4") else "clear"
    return {"text": row["initial_request"], "label": need, "group": row["initial_request"]}


def contradiction(row: dict[str, Any]) -> dict[str, Any] | None:
    """What a bot says last, behind what it said before, where it did."""
    *before, last = row["turns"]
    own = [turn["text"] for turn in before if turn["agent_id"] == last["agent_id"]]
    if not own:
        return None
    opening = " ".join(turn["text"] for turn in row["turns"][:2])
    said = {"prompt": "\n".join(own), "text": last["text"], "group": opening}
    return {**said, "label": "contradicts" if row["is_contradiction"] else "agrees"}


def tasks(data: Path) -> dict[str, dict[str, Any]]:
    """{name: [data] table} of everything that is measured."""

    def mapped(file: str, change: str, **columns: Any) -> dict[str, Any]:
        return {"files": str(data / file), "map": f"{Path(__file__).resolve()}:{change}", **columns}

    answered = {"label": "label", "prompt": "prompt", "text": "text", "group": "group"}
    tweets = {"text": "tweet", "votes": ["hate_speech", "offensive_language", "neither"]}
    cases = {"text": "test_case", "label": "label_gold", "group": "templ_id"}
    return {
        "harmless": {
            "files": str(data / "pref_hh_harmless.jsonl"),
            "transcripts": True,
            "broken": "skip",
        },
        "moderation": mapped("safety_moderation.jsonl", "moderation", label="label"),
        "hate_offensive": {"files": str(data / "safety_hate_offensive.jsonl"), **tweets},
        "hatecheck": {"files": str(data / "safety_hatecheck.jsonl"), **cases},
        "truth": mapped("truthfulqa_judged.jsonl", "judged_truth", **answered),
        "info": mapped("truthfulqa_judged.jsonl", "judged_info", **answered),
        "selfaware": {
            "files": str(data / "unanswerable_selfaware.jsonl"),
            "text": "question",
            "label": "answerable",
        },
        "clariq": mapped("clarify_clariq.jsonl", "clariq", label="label", group="group"),
        "contradiction": mapped("dialog_contradiction.jsonl", "contradiction", **answered),
    }


# ---- measuring ----


def rounds(config: FitConfig, examples: Labelled | Preferences, seed: int, count: int) -> list[tuple[Any, Any]]:
    """[(learnt, held out)]: one split of labels, or all folds of pairs."""
    if isinstance(examples, Labelled):
        parts = [split(examples, config.data.held_out, seed)]
    else:
        parts = [parted(examples, part) for part in folds(examples.groups, count, seed)]
    return [(examples.take(part.learnt), examples.take(part.held)) for part in parts]


def joined(said: Sequence[Said]) -> Said:
    """What was said in all folds."""
    return Said(
        np.concatenate([each.chances for each in said]),
        np.concatenate([each.true for each in said]),
        tuple(group for each in said for group in each.groups),
    )


def measure(
    name: str, data: dict[str, Any], model: Path, seeds: int, kinds: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """{kind: figures of each seed}."""
    target = "classifier" if "label" in data or "votes" in data else "reward_model"
    found: dict[str, list[dict[str, Any]]] = {}
    encoder: Encoder | None = None
    for seed in range(seeds):
        started = time.perf_counter()
        tables = {"data": data, "fit": {"target": target, "seed": seed}, "linear": {"model": str(model)}}
        configs = {kind: FitConfig.of({**tables, "fit": {**tables["fit"], "kind": kind}}) for kind in kinds}
        encoder = encoder or (_remembering(configs["stacked"]) if "stacked" in kinds else None)
        plain = next(iter(configs.values()))
        examples = READERS[target](plain.data)
        said: dict[str, list[Said]] = {}
        for learnt, held in rounds(plain, examples, seed, 5):
            for kind, config in configs.items():
                scorer = Trained(config, learnt) if kind == "transformer" else estimate(config, learnt, encoder).scorer
                said.setdefault(kind, []).append(judged(scorer, held))
            said.setdefault(BASELINE, []).append(baseline(learnt, held))
            if isinstance(learnt, Preferences):
                said.setdefault("length", []).append(by_length(learnt, held))
        for kind, its in said.items():
            found.setdefault(kind, []).append({**measured(joined(its)), "rows": len(examples)})
        shown = {kind: round(its[-1]["auroc"], 3) for kind, its in found.items()}
        print(f"{name}, seed {seed}: AUROC {shown}, {time.perf_counter() - started:.0f} s", flush=True)
    return found


def _remembering(config: FitConfig) -> Encoder:
    encoder = encoder_of(config)
    encoder.__class__ = Remembering
    return encoder


# ---- the page ----

TITLES = {
    "harmless": "which answer people found the more harmless (pref_hh_harmless)",
    "moderation": "harmful or fine (safety_moderation)",
    "hate_offensive": "hate, offence or neither, by votes (safety_hate_offensive)",
    "hatecheck": "hateful or not, templates held out (safety_hatecheck)",
    "truth": "a true answer or not (truthfulqa_judged)",
    "info": "an informative answer or not (truthfulqa_judged)",
    "selfaware": "answerable or not (unanswerable_selfaware)",
    "clariq": "needs a question back or not (clarify_clariq: 183 requests, 9 rows each)",
    "contradiction": "contradicts an earlier turn or not (dialog_contradiction)",
}
FIGURES = {"auroc": "AUROC", "accuracy": "accuracy", "brier": "Brier", "ece": "ECE"}


def save(found: dict[str, Any]) -> None:
    """Put these figures in the place of their older ones, and write the page anew."""
    path = RESULTS / "fit.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept |= {name: {**kept.get(name, {}), **kinds} for name, kinds in found.items()}
    kept = {name: kept[name] for name in TITLES if name in kept}
    path.write_text(json.dumps(kept, indent=1) + "\n")
    (RESULTS / "fit.md").write_text(page(kept))
    if "harmless" in kept:
        rows = kept["harmless"][KINDS[0]][0]["reliability"]
        (RESULTS / PICTURE).write_text(reliability_plot(rows, "reward model on pref_hh_harmless"))


def page(found: dict[str, Any]) -> str:
    """Markdown: a table of all tasks, those that lose named, and how well the reward model is calibrated."""
    lines = [
        "# What `rlaif fit` is worth",
        "",
        "On rows held out by group, never by row: means over seeds, and in brackets the least and the most. `stacked`",
        "is TF-IDF of words and characters and the states of a chat model of 5 M parameters under one regression; the",
        "baseline is scikit-learn's TF-IDF of words and logistic regression as they come. `transformer`, where it is",
        "named, is an encoder of two layers of 128, trained from scratch on these rows alone. Regenerate with",
        "`python benches/bench_fit.py --save`.",
        "",
        "| task | model | " + " | ".join(FIGURES.values()) + " |",
        "|---|---|" + "--:|" * len(FIGURES),
    ]
    for name, kinds in found.items():
        rows = next(iter(kinds.values()))[0]["rows"]
        best = max(kinds, key=lambda kind: _mean(kinds[kind], "auroc"))
        for number, (kind, seeds) in enumerate(kinds.items()):
            title = f"{TITLES[name]}, {rows} rows, {len(seeds)} seeds" if number == 0 else ""
            shown = f"**{kind}**" if kind == best else kind
            lines.append(f"| {title} | {shown} | " + " | ".join(_cell(seeds, figure) for figure in FIGURES) + " |")
    lines += ["", *_lost(found), *_reward_model(found.get("harmless", {}))]
    return "\n".join(lines) + "\n"


def _mean(seeds: Sequence[dict[str, Any]], figure: str) -> float:
    return statistics.mean(seed[figure] for seed in seeds)


def _cell(seeds: Sequence[dict[str, Any]], figure: str) -> str:
    values = [seed[figure] for seed in seeds]
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def _lost(found: dict[str, Any]) -> list[str]:
    lost = [
        f"{TITLES[name]}: {title} {_mean(kinds[kind], figure):.3f}, baseline {_mean(kinds[BASELINE], figure):.3f}"
        for name, kinds in found.items()
        for kind in KINDS[:1]
        for figure, title, sign in (("auroc", "AUROC", 1), ("brier", "Brier", -1))
        if sign * (_mean(kinds[kind], figure) - _mean(kinds[BASELINE], figure)) < 0
    ]
    if not lost:
        return ["On the mean over seeds `stacked` has the better AUROC and Brier score everywhere.", ""]
    return [
        "Where `stacked` is worse than the baseline, on the mean over seeds:",
        "",
        *(f"- {each}" for each in lost),
        "",
    ]


def _reward_model(kinds: dict[str, Any]) -> list[str]:
    if not kinds:
        return []
    lines = ["## The reward model", "", "Every pair was judged by a model that had not seen its conversation.", ""]
    lines += ["| model | seed | accuracy (95 %, over conversations) | log loss |", "|---|--:|--:|--:|"]
    for kind, seeds in kinds.items():
        for number, seed in enumerate(seeds):
            low, high = seed["accuracy_interval"]
            lines.append(
                f"| {kind} | {number} | {seed['accuracy']:.3f} ({low:.3f} to {high:.3f}) | {seed['log_loss']:.3f} |"
            )
    lines += ["", "Reliability of `stacked`, seed 0, both orders of each pair (chance 0.693 log loss):", ""]
    lines += [f"![what was said against what came true]({PICTURE})", ""]
    lines += ["| said, from | to | pairs | said, mean | came true |", "|--:|--:|--:|--:|--:|"]
    for row in kinds[KINDS[0]][0]["reliability"]:
        numbers = f"{row['count']} | {row['predicted']:.3f} | {row['observed']:.3f}"
        lines.append(f"| {row['low']:.1f} | {row['high']:.1f} | {numbers} |")
    return lines


def main() -> None:
    """Measure, print, and where asked to, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--kinds", nargs="*")
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    root = os.environ.get("RLAIF_REAL_DATA")
    if not root:
        print("RLAIF_REAL_DATA names no folder with data/ and models/: nothing to measure")
        return
    chosen = {name: data for name, data in tasks(Path(root, "data")).items() if name in (arguments.only or [name])}
    for name, data in chosen.items():
        kinds = arguments.kinds or (*KINDS, *(["transformer"] if name in TRAINED else []))
        found = measure(name, data, Path(root, "models/tiny-chat"), arguments.seeds, kinds)
        if arguments.save:
            save({name: found})


if __name__ == "__main__":
    main()
