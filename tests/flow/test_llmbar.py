"""Recorded verdicts of five real judges, read strictly and asked in both orders as live ones are."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def llmbar(repository: Path, real_data: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_llmbar", repository / "benches" / "bench_llmbar.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_llmbar"] = module
    spec.loader.exec_module(module)
    module.DATA = real_data / "data"
    return module


@pytest.mark.real
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Output (b)", 1),
        ("output a.", 0),
        ("Both are fine. Therefore, Output (a) is better.", 0),
        ("Output (b) is better because Output (a) is wrong.\n\nIt also rambles.", 1),
        ("Output (b) is better. Output (a) is not about it. Therefore, Output (a) is better.", None),
        ("Both outputs are good.", None),
        ("Output (a) is not better than it should be.", None),
        ("", None),
    ],
)
def test_a_text_is_a_verdict_only_where_it_says_so(llmbar: ModuleType, text: str, wanted: int | None) -> None:
    assert llmbar.stated(text) == wanted


@pytest.mark.real
@pytest.mark.slow
def test_five_real_judges(llmbar: ModuleType) -> None:
    figures = llmbar.measure()
    judges = {its.judge: its for its in figures.judges}
    assert len(judges) == 10
    assert all(its.pairs == 170 for its in judges.values())
    assert figures.same > 0.98
    assert max(figures.unread.values()) < 0.2
    for name in ("GPT-4 Vanilla", "GPT-4 CoT", "PaLM2 Vanilla", "PaLM2 CoT"):  # those that are better than a coin
        agreeing, heard = figures.consistent[name]
        assert agreeing.value > judges[name].single.value
        assert heard < 1
    assert judges["Falcon Vanilla"].position_bias > 0.2
    assert abs(judges["GPT-4 Vanilla"].position_bias) < 0.05
    singles = [its.single.value for name, its in judges.items()]
    ensemble, heard = figures.ensembles["all ten"]
    assert ensemble.value > sum(singles) / len(singles)
    assert heard == 1.0
