"""A judge can be pressed too hard, the canary sees it, and defences hold: in the embedded world, by its oracle."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

STEPS, SPAN = 60, 12


@pytest.fixture
def bench(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The runs of the benchmark."""
    monkeypatch.syspath_prepend(str(repository / "benches"))
    return importlib.import_module("overoptimised")


@pytest.fixture
def pages(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What is made of them."""
    return importlib.import_module("overoptimised_page")


def ended(bench: ModuleType, name: str, kl: float, gold: float, **more: Any) -> Any:
    """A made-up run that rises to its end and stays there."""
    steps = [min(1.0, step / 20) for step in range(40)]
    hacks = {"filler": 1.0, "length": 9.0}
    return bench.Course(
        name, [kl * it for it in steps], [gold * it for it in steps], [2 * it for it in steps], hacks, **more
    )


def test_who_lifts_gold_at_equal_kl_is_told_from_who_stops_elsewhere(bench: ModuleType, pages: ModuleType) -> None:
    def seeds(name: str, kl: float, *golds: float, **more: Any) -> list[Any]:
        return [ended(bench, f"{name}-{seed}", kl, gold, **more) for seed, gold in enumerate(golds)]

    runs = {
        "b0": seeds("b0", 9.0, 0.08, 0.12, alarm=31),
        "b30": seeds("b30", 1.0, 0.48, 0.52),
        "par": seeds("par", 4.0, 0.3, 0.32),
        "minimum": seeds("minimum", 4.0, 0.5, 0.52),
        "warm": seeds("warm", 4.0, 0.09, 0.11),
        "lenfree": seeds("lenfree", 99.0, 0.1),
        "single": seeds("single", 4.0, 0.9),
    }
    # Halfway in sqrt(KL) between 1 and 9 is 4: there the sweep is at 0.3, known to 0.02 / sqrt(2); the runs to 0.01.
    gain, error = pages.above(runs["par"], runs)
    assert gain == pytest.approx(0.01)
    assert error == pytest.approx((0.01**2 + 0.02**2 / 2) ** 0.5)
    assert pages.above(runs["minimum"], runs)[0] == pytest.approx(0.21)
    assert pages.above(runs["lenfree"], runs) is None
    best = bench.Course(
        "packaged judge", [0.0, 0.2], [0.0, 0.3], [0.0, 1.0], {"filler": 1.0}, None, [0.1, 0.1], [(0.0, 0.0)] * 2
    )
    other = replace(best, name="gold itself", above=[(0.0, 0.0), (0.3, 0.1)])
    text = pages.page([best, other], runs, 10, 2)
    assert "- Gold is lifted at equal KL: minimum of the three, beta 0.05.\n" in text
    assert "- Only moved along the sweep, within two standard errors: bounded (PAR), beta 0.05.\n" in text
    assert "- Below the sweep: their weights averaged" in text
    assert "- Outside of the sweep's KL: length-free" in text
    assert "- Known from one seed alone: one of the three" in text
    assert "**+0.300 +- 0.100**" in text
    assert "seed 0: at step 31, with gold at 0.08" in text
    drawn = ElementTree.fromstring(pages.figure([best, other], runs))
    assert len([it for it in drawn if it.get("fill") == "none"]) == len(runs) + 2


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
