from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlaif_core.agreement import cohen_kappa, krippendorff_alpha
from rlaif_fusion.config import FuseConfig
from rlaif_fusion.fuse import Fused, fuse
from rlaif_fusion.prediction_powered import prediction_powered_mean
from rlaif_fusion.reading import Rows, read
from rlaif_fusion.report import lines, report

Made = Callable[..., Path]


@pytest.fixture
def fused(made: Made) -> tuple[Rows, Fused, dict[str, Any]]:
    rows = read(FuseConfig.load(made(160, lambda row: row)))
    found = fuse(rows.said, rows.trusted, kinds=rows.kinds, positions=rows.positions)
    return rows, found, report(rows, found, level=0.9, seed=1)


def test_accuracies_are_counted_on_held_out_labels_alone(fused: tuple[Rows, Fused, dict[str, Any]]) -> None:
    rows, _, found = fused
    out = found["held_out"]
    taken = [row for row, label in enumerate(rows.held_out) if label is not None]
    assert out["pairs"] == len(taken)
    marks = []
    for row in taken:
        said = rows.said["person"][row]
        marks.append(0.5 if said in (None, 0.5) else float(said == rows.held_out[row]))
    assert out["sources"]["person"] == pytest.approx(sum(marks) / len(marks))
    best = max(out["sources"].values())
    assert out["gain"]["value"] == pytest.approx(out["accuracy"]["value"] - best)
    assert out["accuracy"]["low"] < out["accuracy"]["value"] < out["accuracy"]["high"]


def test_agreement_is_of_sides_taken(fused: tuple[Rows, Fused, dict[str, Any]]) -> None:
    rows, _, found = fused
    sides = {
        "person": rows.said["person"],
        "judge": [0.5 if p == 0.5 else float(p > 0.5) for p in rows.said["judge"] if p is not None],
        "model": [float(margin > 0) for margin in rows.said["model"] if margin is not None],
    }
    assert found["kappa"]["person / judge"] == pytest.approx(cohen_kappa(sides["person"], sides["judge"]))
    assert found["alpha"] == pytest.approx(krippendorff_alpha(list(zip(*sides.values(), strict=True))))


def test_table_bins_hold_every_held_out_pair(fused: tuple[Rows, Fused, dict[str, Any]]) -> None:
    _, _, found = fused
    out = found["held_out"]
    assert sum(row["count"] for row in out["reliability_table"]) == out["pairs"]
    assert 0 <= out["brier"] < 0.25  # better than even odds
    rows, fused_, _ = fused
    taken = [row for row, label in enumerate(rows.held_out) if label is not None]
    others = [p for row, p in enumerate(fused_.probabilities) if rows.trusted[row] is None and row not in taken]
    labels = [float(rows.held_out[row] or 0) for row in taken]
    expected = prediction_powered_mean(labels, [fused_.probabilities[row] for row in taken], others, level=0.9)  # type: ignore[list-item, arg-type]
    assert out["first_is_better"]["value"] == pytest.approx(expected.mean)


def test_reads_well(fused: tuple[Rows, Fused, dict[str, Any]]) -> None:
    table, told = lines(fused[2])
    assert table[0][:3] == ("source", "said", "reliability")
    assert [row[0] for row in table[1:]] == ["person", "judge", "model"]
    assert table[2][4].startswith("position ")
    text = "\n".join(told)
    assert "160 of 160 pairs by stacking" in text
    assert "more than" in text
    assert "kappa from" in text


def test_without_labels_it_says_what_it_can(made: Made) -> None:
    rows = read(FuseConfig.load(made(40, replace=('[trusted]\ncolumn = "label"\n', ""))))
    found = report(rows, fuse(rows.said, kinds=rows.kinds), level=0.95, seed=0)
    assert "held_out" not in found
    assert found["sources"]["person"]["reliability"]["low"] is not None
    assert any("by dawid_skene, 0 trusted labels" in line for line in lines(found)[1])


def test_one_source_alone_agrees_with_nobody(made: Made) -> None:
    rows = read(FuseConfig.load(made(40)))
    alone = Rows(**{name: getattr(rows, name) for name in Rows.__dataclass_fields__} | {
        "said": {"person": rows.said["person"]}, "kinds": {"person": "vote"}, "positions": {},
    })  # fmt: skip
    found = report(alone, fuse(alone.said), level=0.95, seed=0)
    assert found["kappa"] == {}
    assert "agreement: alpha undefined" in lines(found)[1]
