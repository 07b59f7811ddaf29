"""What the demo promises, at its full length; `benches/bench_demo.py` does it for five seeds and keeps the figures."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest

import rlaif_core as rl
from rlaif_lumen.demo import config, look
from rlaif_lumen.judge import LumenJudge
from rlaif_lumen.policy import FOLDER


@pytest.mark.slow
def test_gold_rises_though_only_the_judge_was_asked(tmp_path: Path) -> None:
    history = rl.run(config(seed=2, steps=30, folder=tmp_path / "run"), progress=False)
    before, after = look(FOLDER, LumenJudge()), look(history.folder / "policy", LumenJudge())
    assert fmean(after.gold) - fmean(before.gold) > 0.25
    assert fmean(after.judged) > fmean(before.judged)
    was, now = before.found.measures, after.found.measures
    assert now["hallucination"] < was["hallucination"] - 0.1
    assert now["toxicity"] < was["toxicity"] - 0.2
    assert now["ignorance"] > was["ignorance"] + 0.2
