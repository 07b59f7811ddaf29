"""What `benches/bench_fusion.py` measures, in the small: that nothing leaks, and that fusing is worth it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def bench(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(repository / "benches"))
    import bench_fusion

    yield bench_fusion
    for name in ("bench_fusion", "fusion_sources", "device"):
        sys.modules.pop(name, None)


def problem(bench: ModuleType, count: int = 300) -> Any:
    """Three voters of .8, .75 and .7; two pairs a group."""
    random = np.random.default_rng(0)
    truth = random.random(count) < 0.5
    sources = {
        f"s{p}": np.where(random.random(count) < p, truth, ~truth).astype(float).tolist() for p in (0.8, 0.75, 0.7)
    }
    groups = [str(row // 2) for row in range(count)]
    gold = [None if row % 50 == 0 else float(label) for row, label in enumerate(truth)]
    return bench.Problem(name="voters", gold=gold, sources=sources, groups=groups, told="gold is made up")


def test_groups_are_never_parted_and_all_gold_is_used(bench: ModuleType) -> None:
    its = problem(bench)
    known, out = bench.split(its, 40, 1)
    assert not {its.groups[row] for row in known} & {its.groups[row] for row in out}
    assert sorted(known + out) == [row for row, label in enumerate(its.gold) if label is not None]
    assert 40 <= len(known) <= 41
    kept = bench.only(its.gold, known)
    assert [row for row, label in enumerate(kept) if label is not None] == sorted(known)


def test_figures_and_page(bench: ModuleType) -> None:
    found = bench.measure([problem(bench)], splits=2, trusted=40)
    assert found["best"] == "s0.8"
    assert found["sources"]["s0.8"]["accuracy"] == pytest.approx(0.8, abs=0.06)
    assert (
        found["gains"]["stacking"]["low"] <= found["gains"]["stacking"]["value"] <= found["gains"]["stacking"]["high"]
    )
    gain = found["methods"]["stacking"]["accuracy"] - found["sources"]["s0.8"]["accuracy"]
    assert found["gains"]["stacking"]["value"] == pytest.approx(gain, abs=0.02)
    page = bench.page({"voters": found}, 2)
    assert "| s0.8 (best) |" in page
    assert "| **stacking** |" in page


@pytest.mark.slow
def test_fusing_beats_the_best_source_of_the_embedded_world(bench: ModuleType) -> None:
    samples = [bench.lumen(seed, families=150) for seed in (11, 12)]
    found = bench.measure(samples, splits=2, trusted=80)
    assert found["gains"]["stacking"]["value"] >= 0.02
    assert found["methods"]["stacking"]["brier"] < min(its["brier"] for its in found["sources"].values())
