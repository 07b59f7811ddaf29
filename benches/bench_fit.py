"""What `rlaif fit` is worth on public data: its kinds beside a plain TF-IDF baseline, on rows held out, several seeds.

    RLAIF_REAL_DATA=... python benches/bench_fit.py [--seeds 3] [--only NAME ...] [--save]

RLAIF_REAL_DATA names a folder with data/ and models/tiny-chat; without it there is nothing to measure. The seed decides
which groups (prompts, templates, conversations) are held out. The reward model is cross-validated: each pair is judged
once a seed by a model that never saw its conversation. `--save` writes results/fit.md and results/fit.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
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
from rlaif_rewards.fit.split import folds, parted, split
from rlaif_rewards.reading import Shown

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
KINDS = ("stacked", "tfidf")
BASELINE = "baseline"
SPEAKERS = {"Human": "user", "Assistant": "assistant"}
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


def contradiction(row: dict[str, Any]) -> dict[str, Any]:
    """What a bot says last, behind what it said before."""
    *before, last = row["turns"]
    own = [turn["text"] for turn in before if turn["agent_id"] == last["agent_id"]]
    opening = " ".join(turn["text"] for turn in row["turns"][:2])
    said = {"prompt": "\n".join(own), "text": last["text"], "group": opening}
    return {**said, "label": "contradicts" if row["is_contradiction"] else "agrees"}


def harmless(row: dict[str, Any]) -> dict[str, Any] | None:
    """A conversation and two answers; the few rows that differ before the last answer are left out."""
    (*before, chosen), (*same, rejected) = (_turns(row[side]) for side in ("chosen", "rejected"))
    answers = {"chosen": chosen["content"], "rejected": rejected["content"]}
    if before != same or not before or not all(answers.values()) or len(set(answers.values())) < 2:
        return None
    return {"prompt": before, **answers, "group": before[0]["content"]}


def _turns(transcript: str) -> list[dict[str, str]]:
    parts = re.split(r"\n\n(Human|Assistant):", transcript)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [{"role": SPEAKERS[speaker], "content": said.strip()} for speaker, said in pairs]


def tasks(data: Path) -> dict[str, dict[str, Any]]:
    """{name: [data] table} of everything that is measured."""

    def mapped(file: str, change: str, **columns: Any) -> dict[str, Any]:
        return {"files": str(data / file), "map": f"{Path(__file__).resolve()}:{change}", **columns}

    answered = {"label": "label", "prompt": "prompt", "group": "group"}
    tweets = {"text": "tweet", "votes": ["hate_speech", "offensive_language", "neither"]}
    cases = {"text": "test_case", "label": "label_gold", "group": "templ_id"}
    return {
        "harmless": mapped("pref_hh_harmless.jsonl", "harmless", prompt="prompt", group="group"),
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


def measure(name: str, data: dict[str, Any], model: Path, seeds: int) -> dict[str, list[dict[str, Any]]]:
    """{kind: figures of each seed}."""
    target = "classifier" if "label" in data or "votes" in data else "reward_model"
    found: dict[str, list[dict[str, Any]]] = {}
    encoder: Encoder | None = None
    for seed in range(seeds):
        started = time.perf_counter()
        tables = {"data": data, "fit": {"target": target, "seed": seed}, "linear": {"model": str(model)}}
        configs = {kind: FitConfig.of({**tables, "fit": {**tables["fit"], "kind": kind}}) for kind in KINDS}
        encoder = encoder or _remembering(configs["stacked"])
        examples = READERS[target](configs["stacked"].data)
        said: dict[str, list[Said]] = {}
        for learnt, held in rounds(configs["stacked"], examples, seed, 5):
            for kind, config in configs.items():
                said.setdefault(kind, []).append(judged(estimate(config, learnt, encoder).scorer, held))
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


def main() -> None:
    """Measure, print, and where asked to, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    root = os.environ.get("RLAIF_REAL_DATA")
    if not root:
        print("RLAIF_REAL_DATA names no folder with data/ and models/: nothing to measure")
        return
    torch.set_num_threads(1)
    started = time.perf_counter()
    chosen = {name: data for name, data in tasks(Path(root, "data")).items() if name in (arguments.only or [name])}
    found = {}
    for name, data in chosen.items():
        found[name] = measure(name, data, Path(root, "models/tiny-chat"), arguments.seeds)
        Path("/tmp/fit_found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
