"""What the benchmark of the kernels writes down: a table and a roofline, from rows made up for it."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

from rlaif_kernels.bench import Limits, Row
from rlaif_kernels.bench.cases import matrix
from rlaif_kernels.bench.row import short_name_of

LIMITS = Limits("cpu", 2, copy=2e10, read=3e10, products={"float32": 1e11, "bfloat16": 2e11}, mhz=2400.0).as_dict()
SVG = "{http://www.w3.org/2000/svg}"


def row(op: str, impl: str, ms: float, /, **changes: Any) -> dict[str, Any]:
    """A row of a million and more operations that takes `ms`, where ours takes 2."""
    its = Row(
        *(op, "[8,9]", impl, "forward", "f32", "cpu"),
        ours=impl.startswith("rlaif"),
        ms=ms,
        ratio=ms / 2,
        fraction=0.5 / ms,
        intensity=2.0,
        gflops=8 / ms,
        peak_bytes=3 << 20,
        error=1e-7,
    )
    return {**its.as_dict(), "threads": 2, **changes}


ROWS = [
    row("token_logprobs", "rlaif native", 2.0),
    row("token_logprobs", "rlaif torch", 9.0, error=1e-5),
    row("token_logprobs", "torch eager", 8.0),
    row("token_logprobs", "quick & sharp", 1.0, note="in Latin"),
    row("token_logprobs", "gone", 1.0, ms=None, ratio=None, status="absent", note="not installed"),
    row("gae", "rlaif native", 2.0, intensity=0.4),
    row("gae", "rlaif native", 2.0, intensity=0.4, dtype="bf16"),
    row("vtrace", "theirs alone", 2.0),
]


@pytest.fixture
def pages(repository: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    monkeypatch.syspath_prepend(str(repository / "benches"))
    import aims
    import bench_kernels
    import kernel_tables
    import roofline

    return {"aims": aims, "bench": bench_kernels, "tables": kernel_tables, "roofline": roofline}


def test_whoever_of_ours_has_become_slower_by_a_tenth_is_named(pages: dict[str, ModuleType]) -> None:
    fallen = pages["bench"].fallen
    assert fallen(ROWS, ROWS) == []
    slower = [{**its, "fraction": its["fraction"] and its["fraction"] / 1.2} for its in ROWS[:5]]
    assert fallen(ROWS, slower) == [
        "token_logprobs [8,9] rlaif native forward f32 hot 2: 25.0% of the limit before, 20.8% now",
        "token_logprobs [8,9] rlaif torch forward f32 hot 2: 5.6% of the limit before, 4.6% now",
    ]
    assert fallen(ROWS, [{**its, "threads": 1} for its in slower]) == []


def test_what_is_measured_again_takes_its_own_place_and_no_others(
    pages: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = pages["bench"]
    monkeypatch.setattr(bench.device, "RESULTS", tmp_path)
    told = {"versions": {"torch": "2"}}
    one, other = ({"case": f"64x1024 with {what}", **told} for what in ("holes", "1 % ends"))
    first = [row("gae", "rlaif native", 2.0, **one), row("gae", "rlaif native", 3.0, **other)]
    bench.save({"2": LIMITS}, [*first, row("gae", "gone since", 4.0, **other)])
    with bench.rows_file({"2": LIMITS}).open("a") as file:
        file.write(json.dumps(row("gae", "no more a case", 5.0)) + "\n")
    bench.save({"2": {**LIMITS, "mhz": None}}, [row("gae", "rlaif native", 6.0, **other)])
    bench.save({"1": LIMITS}, [row("gae", "rlaif native", 7.0, **other, threads=1)])
    head, *rows = map(json.loads, bench.rows_file({"2": LIMITS}).read_text().splitlines())
    assert [(its["case"][-4:], its["threads"], its["ms"]) for its in rows] == [
        ("ends", 1, 7.0),
        ("ends", 2, 6.0),
        ("oles", 2, 2.0),
    ]
    assert (head["limits"]["2"]["mhz"], set(head["limits"])) == (2400.0, {"1", "2"})


def test_a_table_marks_what_is_faster_than_ours_and_says_who_was_not_there(pages: dict[str, ModuleType]) -> None:
    page = pages["tables"].markdown("a machine", {"2": LIMITS}, ROWS, "picture.svg")
    (line,) = [line for line in page.splitlines() if line.startswith("| [8,9] | f32 | forward | 2.00 ms")][:1]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[3:] == ["2.00 ms (25%)", "9.00 ms (6%)", "8.00 ms (4.0x)", "**1.00 ms (0.50x)**", "1e-05"]
    assert "- gone: not installed" in page
    assert "- quick & sharp: in Latin" in page
    assert "| 2 | 20.0 GB/s | 30.0 GB/s | 100 GFLOP/s | 200 GFLOP/s | 2,400 MHz |" in page
    assert "3.0 MiB" in page


def test_what_is_aimed_at_is_measured_and_what_is_missed_says_by_how_much(pages: dict[str, ModuleType]) -> None:
    aims = pages["aims"]
    cases = {(case.op, case.label, short_name_of(case.dtype)): case for case in matrix(large=True)}
    for aim in aims.AIMS:
        assert aim.phase in cases[aim.op, aim.case, aim.dtype].work, aim
    case = "[256,151936] with entropy"
    of = {"case": case, "fraction": 0.5}
    rows = [row("token_logprobs", name, ms, **of) for name, ms in (("rlaif native", 2.0), ("torch.compile", 7.0))]
    rows += [row("token_logprobs", "torch eager", 60.0, **of)]
    rows += [row("linear_logprobs", "rlaif native", 2.0, case="[2048,64] x [151936,64]", phase="both",
                 peak_bytes=4 * 151936 * (64 + 512))]  # fmt: skip
    lines = aims.table(rows, 2).splitlines()[2:]
    assert [line.split(" | ")[1:] for line in lines] == [
        ["4.0x torch.compile", "3.5x torch.compile", "**by 14%**:  |"],
        ["25.0x torch eager", "30.0x torch eager", " |"],
        ["1.30 times one read", "2.00 times one read", f"**by 54%**: {aims.BUSY} |"],
        ["10% of all logits' memory", "25% of all logits' memory", "**by 150%**:  |"],
    ]
    assert aims.table(rows, 1) == ""
    assert "by 54%" in pages["tables"].markdown("a machine", {"2": LIMITS}, rows, "picture.svg")


def test_a_roofline_has_a_dot_for_everyone_who_was_measured_and_ours_filled(pages: dict[str, ModuleType]) -> None:
    picture = ElementTree.fromstring(pages["roofline"].roofline("a machine", LIMITS, ROWS))
    float32, bfloat16 = picture.findall(f"{SVG}g")
    hints = [title.text for title in float32.iter(f"{SVG}title")]
    assert len(hints) == 4  # of ours the faster alone, and nothing of an operation that is theirs alone
    assert "token_logprobs forward, [8,9]: quick & sharp, 1 ms, 0.50 times ours" in hints
    assert len(list(bfloat16.iter(f"{SVG}title"))) == 1
    faster = [path for path in float32.iter(f"{SVG}path") if path.get("class") == "faster"]
    assert len(faster) == 1
    words = [text.text for text in float32.iter(f"{SVG}text")]
    assert {"token_logprobs", "gae", "quick & sharp", "best matrix product, 100 GFLOP/s"} <= set(words)


def test_no_label_lies_on_another_or_on_a_dot(pages: dict[str, ModuleType]) -> None:
    names = [f"operation_{number}" for number in range(6)]
    rows = [row(name, "rlaif native", 2.0, intensity=1 + number / 50) for number, name in enumerate(names)]
    panel = pages["roofline"].Panel(LIMITS, "float32", [[its] for its in rows], [])
    drawn = panel.drawn("a machine")
    assert all(f">{name}<" in drawn for name in names)
    labels = panel.taken[-len(names) :]
    for one in labels:
        others = [box for box in panel.taken if box is not one]
        assert not any(one[0] < c and a < one[2] and one[1] < d and b < one[3] for a, b, c, d in others)
