from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlaif_core.cli import main
from rlaif_rewards.fit.command import after, notes
from rlaif_rewards.fit.data import Labelled

REPORT = {"learnt": 8, "held_out": 2, "groups": 10, "left_out_because_held_out_too": 0, "contradicting_rows": 0}


@pytest.fixture
def toml(toy: Labelled, tmp_path: Path) -> Path:
    rows = [
        {"text": shown.answer, "class": toy.labels[target.argmax()]}
        for shown, target in zip(toy.shown, toy.targets, strict=True)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "fit.toml"
    path.write_text(
        f'[data]\nfiles = "{tmp_path}/rows.jsonl"\nlabel = "class"\n[fit]\nkind = "tfidf"\nout = "{tmp_path}/out"\n'
        "[linear]\nstrengths = [10]\n"
    )
    return path


def test_the_verb_fits_and_shows_a_table(toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", str(toml)]) == 0
    said = capsys.readouterr().out
    assert "96 rows to learn from, 24 held out, of 1" in said
    ours, theirs = (next(line for line in said.splitlines() if line.startswith(name)) for name in ("tfidf", "TF-IDF b"))
    assert "1.000 (1.000 to 1.000)" in ours
    assert len(ours.split()) == len(theirs.split()) - 1
    assert 'use it in [[rewards]]: use = "classifier", model = ' in said


def test_overrides_and_json(toml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", str(toml), "--set", "fit.seed=4", "--out", str(tmp_path / "other"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["seed"] == 4
    assert (tmp_path / "other" / "fit.json").is_file()


def test_errors_are_one_paragraph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fit.toml").write_text('[data]\nlable = "x"\n')
    assert main(["fit", str(tmp_path / "fit.toml")]) == 1
    assert "unknown key 'lable' in [data]; did you mean 'label'?" in capsys.readouterr().err


def test_what_is_wrong_with_the_rows_is_said_in_words() -> None:
    assert notes(REPORT) == ["8 rows to learn from, 2 held out, of 10 groups"]
    odd = {**REPORT, "left_out_because_held_out_too": 3, "contradicting_rows": 2, "a_contradicting_text": "\x1b[2J"}
    assert notes(odd)[1:] == [
        "3 rows were left out, because a text of theirs is held out too",
        "2 rows contradict another one of the same text, as '\\x1b[2J' does",
    ]


def test_what_is_fitted_is_named_with_all_members() -> None:
    assert after({"target": "classifier"}, "out") == ['use it in [[rewards]]: use = "classifier", model = "out"']
    told = {
        "target": "reward_model",
        "length_correlation": {"before": 0.4, "after": -0.01, "length_head": 0.9},
        "members": {"of": ["member-0", "member-1"], "spread": 0.25, "disagreement": 0.1},
    }
    assert after(told, "out") == [
        "correlation with length, held out: -0.010, without ODIN +0.400, of the length head +0.900",
        "2 members: 0.250 apart on the mean (standard deviation), and of two of them one decides otherwise in 10.0% of "
        "the rows held out",
        'use it in [[rewards]]: use = "reward_model", model = "out/member-0"',
        'use it in [[rewards]]: use = "reward_model", model = "out/member-1"',
    ]
