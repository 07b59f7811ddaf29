"""`rlaif bench` on a few numbers: what is printed and with which exit code; nothing is said of how long it took."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from rich.console import Console

import rlaif_kernels.bench
from rlaif_core.bench import TablePrinter, cells, duration, lost, noted
from rlaif_core.cli import main
from rlaif_kernels.bench import Row
from rlaif_kernels.bench.case import Case, Contestant, Inputs, installed
from rlaif_kernels.bench.cases import scans


def twin(inputs: Inputs) -> Any:
    """A peer that computes the same."""
    return partial(rlaif_kernels.gae, **inputs, impl="torch")


def silent(inputs: Inputs) -> Any:
    """Ours, but broken."""
    return lambda: (torch.zeros_like(inputs["rewards"]),) * 2


@pytest.fixture(autouse=True)
def case(monkeypatch: pytest.MonkeyPatch) -> Case:
    """One small case in the place of the matrix, and limits that take no time."""
    peers = (Contestant("twin", twin, note="the same"), Contestant("gone", lambda _: installed("no_such_project")))
    small = replace(scans.gae(2, 5, quick=True), peers=peers)
    monkeypatch.setattr(rlaif_kernels.bench.cases, "EVERY", [small])
    monkeypatch.setattr(
        rlaif_kernels.bench, "measure_limits", partial(rlaif_kernels.bench.measure_limits, size=1 << 12)
    )
    return small


@pytest.fixture
def threads() -> Iterator[int]:
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def test_a_table_has_the_limits_every_implementation_and_the_sum(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"cpu, {torch.get_num_threads()} thread")
    assert "limits measured here: copy " in said
    assert "gae  2x5 with 1 % ends  f32\n" in said
    assert [line.split()[0] for line in said.splitlines() if " forward  " in line][-1] == "twin"
    assert "twin: the same\n" in said
    assert "gone: not installed\n" in said
    assert "ours is " in said.splitlines()[-1]


def test_json_has_the_limits_and_a_row_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--op", "gae", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said) == {"limits", "rows"}
    assert {"device", "threads", "mhz", "copy", "read", "products"} == set(said["limits"])
    found = {row["impl"]: row for row in said["rows"]}
    assert {"rlaif torch", "twin", "gone"} <= set(found)
    assert found["twin"]["status"] == "measured"
    assert found["twin"]["ms"] > 0
    assert found["twin"]["error"] < 1e-5
    assert set(found["twin"]) == set(Row.__dataclass_fields__)


def test_the_number_of_threads_is_set(threads: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--json", "--threads", str(threads + 1)]) == 0
    assert json.loads(capsys.readouterr().out)["limits"]["threads"] == threads + 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--op", "gea"], "no benchmark of gea; there are gae"),
        (["--threads", "0"], "threads"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_measured(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) == 2
    said = capsys.readouterr()
    assert complaint in said.err
    assert said.out == ""


def test_ours_in_the_wrong_is_the_exit_code_and_a_peer_in_the_wrong_is_not(
    case: Case, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = Contestant("wrong", silent)
    monkeypatch.setattr(rlaif_kernels.bench.cases, "EVERY", [replace(case, peers=(wrong,))])
    assert main(["bench"]) == 0
    assert "wrong: wrong: off by " in capsys.readouterr().out
    monkeypatch.setattr(rlaif_kernels.bench.cases, "EVERY", [replace(case, own=(wrong,))])
    assert main(["bench"]) == 1


def test_a_loss_is_a_peer_s_that_was_faster() -> None:
    row = Row("gae", "2x5", "peer", "forward", "f32", "cpu", ms=1.0, ratio=0.5)
    assert lost(row)
    assert cells(row)[-1] == "0.50x"
    assert not any(map(lost, [Row(**{**row.as_dict(), **change}) for change in ({"ratio": 2.0}, {"ours": True})]))
    assert not lost(Row("gae", "2x5", "peer", "forward", "f32", "cpu"))


@pytest.mark.parametrize(("width", "complete"), [(100, False), (160, True)])
def test_a_narrow_window_does_without_the_spread(width: int, complete: bool) -> None:
    printer, page = TablePrinter(), io.StringIO()
    printer._console = Console(width=width, file=page)
    printer.case([Row("gae", "2x5", "peer", "forward", "f32", "cpu", ms=1.0, ms_p20=0.5, ms_p80=2.0, ratio=0.5)])
    assert ("p20 - p80" in page.getvalue()) == ("500 us - 2.00 ms" in page.getvalue()) == complete
    assert "0.50x" in page.getvalue()


@pytest.mark.parametrize(
    ("ms", "said"),
    [(0.0123, "12.3 us"), (0.9, "900 us"), (1.234, "1.23 ms"), (45.6, "45.6 ms"), (1500, "1.50 s"), (None, "")],
)
def test_durations_have_three_digits(ms: float | None, said: str) -> None:
    assert duration(ms) == said


def test_notes_are_said_once_of_all_whom_they_are_about() -> None:
    rows = [
        Row("gae", "", impl, phase, "f32", "cpu", status=status, note=note)
        for impl, phase, status, note in (
            ("a", "", "absent", "not installed"),
            ("b", "", "absent", "not installed"),
            ("c", "forward", "measured", "one thread"),
            ("c", "both", "measured", "one thread"),
            ("d", "forward", "failed", "OSError: no"),
            ("e", "forward", "measured", ""),
        )
    ]
    assert noted(rows) == {"not installed": ["a", "b"], "one thread": ["c"], "failed: OSError: no": ["d"]}
