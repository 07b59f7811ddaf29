"""What `rlaif demo` achieves, seed after seed: gold before and after, by an oracle that no training sees, and how long.

The measuring is the demo's own, on the same prompts for every seed; seconds are those of the training.

    python benches/bench_demo.py [--seeds 5] [--save]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import fmean

import device
import torch

import rlaif_core as rl
from rlaif_lumen.demo import config, look
from rlaif_lumen.judge import LumenJudge
from rlaif_lumen.policy import FOLDER

SHOWN = ("hallucination", "ignorance", "clarification", "toxicity", "persona", "filler")
LEAST = 0.25
"""By how much gold has to rise with every seed."""


def trained(seed: int, judge: LumenJudge) -> dict[str, float]:
    """One run, measured."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        history = rl.run(config(seed, 30, Path(folder) / "run"), progress=False)
        seconds = time.perf_counter() - start
        after = look(history.folder / "policy", judge)
    measures = {name: after.found.measures[name] for name in SHOWN}
    kl = fmean(step["kl"] for step in history[-3:])
    return {"gold": fmean(after.gold), "judge": fmean(after.judged), **measures, "kl": kl, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--save", action="store_true", help="keep the figures in results/<device>.json")
    options = parser.parse_args()
    judge = LumenJudge()
    start = look(FOLDER, judge)
    base = {"gold": fmean(start.gold), "judge": fmean(start.judged)}
    base |= {name: start.found.measures[name] for name in SHOWN}
    print("start  ", "  ".join(f"{name} {value:.2f}" for name, value in base.items()), flush=True)
    seeds = {}
    for seed in range(options.seeds):
        seeds[str(seed)] = found = trained(seed, judge)
        print(f"seed {seed} ", "  ".join(f"{name} {value:.2f}" for name, value in found.items()), flush=True)
    gains = [found["gold"] - base["gold"] for found in seeds.values()]
    held = "kept" if min(gains) >= LEAST else "MISSED"
    print(f"gold rose by {min(gains):.2f} to {max(gains):.2f}; at least {LEAST} with every seed: {held}")
    if options.save:
        figures = {"threads": torch.get_num_threads(), "start": base, "seeds": seeds}
        print("saved:", device.save("demo", figures))


if __name__ == "__main__":
    main()
