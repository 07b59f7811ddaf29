from __future__ import annotations

import io

from rlaif_judges.label import progress
from rlaif_judges.label.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_a_line_now_and_then_and_one_at_the_end(monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with Progress(stream) as its:
        its.stage("scores by main", 100, 20)
        for _ in range(8):
            now[0] += 2
            its.advance(10, cost=0.125)
    assert stream.getvalue().splitlines() == [
        "scores by main  30/100  5/s  cost 0.125  14 s left",
        "scores by main  80/100  5/s  cost 0.75  4 s left",
        "scores by main  100/100  5/s  cost 1  0 s left",
    ]


def test_a_terminal_gets_a_bar_a_stage_with_the_judge_s_name_as_it_is() -> None:
    stream = Terminal()
    with Progress(stream) as its:
        its.stage("scores by [red]x[/]", 2, 0)
        its.advance(2)
        its.stage("ranking by x", 4, 1)
    said = stream.getvalue()
    assert "scores by [red]x[/]" in said
    assert "2/2" in said
    assert "1/4" in said
