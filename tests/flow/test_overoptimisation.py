"""A judge can be pressed too hard, the canary sees it, and defences hold: in the embedded world, by its oracle."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from statistics import fmean, stdev
from types import ModuleType

import pytest

STEPS, SPAN = 60, 12


@pytest.fixture
def bench(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The runs of the benchmark."""
    monkeypatch.syspath_prepend(str(repository / "benches"))
    return importlib.import_module("overoptimised")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_what_is_meant_falls_behind_an_undefended_judge_and_less_behind_a_defended_one(
    bench: ModuleType, tmp_path: Path
) -> None:
    defences = {
        "none": {},
        "bounded": {
            "kl": 0.05,
            "rewards": [{"use": "judge", "judge": "main", "shape": {"kind": "bounded", "reference": "start"}}],
        },
        "penalty": {"kl": 0.3},
    }
    gold, proxy, alarms = {}, {}, {}
    for name, defence in defences.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the canary's
            history = bench.watched(tmp_path, name, 0, STEPS, defence)
        gold[name] = [step["canary/gold"] for step in history]
        proxy[name] = [step.get("unshaped/judge", step["canary/proxy"]) for step in history]
        alarms[name] = max(step["canary/alarm"] for step in history)
    spans = [gold["none"][at : at + SPAN] for at in range(STEPS - SPAN)]
    best, end = max(spans, key=fmean), gold["none"][-SPAN:]
    error = ((stdev(best) ** 2 + stdev(end) ** 2) / SPAN) ** 0.5
    assert fmean(best) - fmean(end) > 4 * error
    assert fmean(proxy["none"][-SPAN:]) > fmean(proxy["none"][:SPAN])
    assert alarms["none"] == 1
    for name in ("bounded", "penalty"):
        held = gold[name][-SPAN:]
        error = ((stdev(held) ** 2 + stdev(end) ** 2) / SPAN) ** 0.5
        assert fmean(held) - fmean(end) > 3 * error, name
        assert fmean(proxy[name][-SPAN:]) < fmean(proxy["none"][-SPAN:])
