from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from rlaif_core import ConfigError, DataError, Prompt, Score
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.classifier import Classifier
from rlaif_rewards.fit.config import FitConfig
from rlaif_rewards.fit.data import Labelled, Preferences
from rlaif_rewards.fit.fitting import fit
from rlaif_rewards.reward_model import RewardModel

SMALL = {"hidden": 16, "layers": 1, "heads": 2, "vocabulary": 300, "max_length": 32, "epochs": 4, "lr": 3e-3}


def texts(toy: Labelled, folder: Path) -> Path:
    rows = [
        {"text": shown.answer, "label": toy.labels[target.argmax()]}
        for shown, target in zip(toy.shown, toy.targets, strict=True)
    ]
    return written(folder / "texts.jsonl", rows)


def answers(pairs: Preferences, folder: Path) -> Path:
    both = zip(pairs.chosen, pairs.rejected, strict=True)
    rows = [
        {"prompt": f"is it {n}", "chosen": one.answer, "rejected": other.answer} for n, (one, other) in enumerate(both)
    ]
    return written(folder / "pairs.jsonl", rows)


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config(path: Path, out: Path, **fit_: Any) -> FitConfig:
    data = {"prompt": "prompt"} if fit_.get("target") == "reward_model" else {"label": "label"}
    tables = {"data": {"files": str(path), **data}, "fit": {"out": str(out), "kind": "tfidf", **fit_}}
    return FitConfig.of({**tables, "linear": {"strengths": [1.0, 10.0]}, "transformer": SMALL})


@pytest.mark.parametrize("kind", ["tfidf", "transformer"])
def test_a_fitted_classifier_serves_as_a_reward(toy: Labelled, tmp_path: Path, kind: str) -> None:
    done = fit(config(texts(toy, tmp_path), tmp_path / "out", kind=kind))
    assert list(done.report["rows"]) == [kind, "TF-IDF baseline"]
    source = Classifier(str(done.folder), label="good", score="logodds")
    good, bad = source.score(make_rollouts([("it is a gem", "it is a oaf")]))
    assert isinstance(good, Score)
    assert isinstance(bad, Score)
    assert good.value > bad.value
    check_reward(source)
    assert not [path for path in done.folder.rglob("*") if path.suffix in (".pkl", ".bin", ".pt", ".joblib")]


@pytest.mark.parametrize("kind", ["tfidf", "transformer"])
def test_a_fitted_reward_model_serves_as_a_reward(pairs: Preferences, tmp_path: Path, kind: str) -> None:
    done = fit(config(answers(pairs, tmp_path), tmp_path / "out", kind=kind, target="reward_model"))
    assert list(done.report["rows"]) == [kind, "TF-IDF baseline", "length alone"]
    source = RewardModel(str(done.folder))
    rollouts = make_rollouts([("it is a gem", "it is a oaf")], prompts=[Prompt(id="p", text="is it")])
    good, bad = source.score(rollouts)
    assert isinstance(good, Score)
    assert isinstance(bad, Score)
    assert good.value > bad.value
    check_reward(source)


@pytest.mark.parametrize("kind", ["tfidf", "transformer"])
def test_odin_is_told_beside_the_same_fit_without_it(tmp_path: Path, kind: str) -> None:
    draw = random.Random(0)
    rows = []
    for number in range(160):
        good, long = (draw.random() < 0.5 for _ in range(2))
        one, other = (
            " ".join([word, *draw.choices(["on", "a", "it", "no"], k=size)])
            for word, size in ((("oaf", "gem")[good], (4, 12)[long]), (("gem", "oaf")[good], (12, 4)[long]))
        )
        first = long if number % 2 else good
        better, worse = (one, other) if first else (other, one)
        rows.append({"prompt": f"is it {number}", "chosen": better, "rejected": worse})
    path = written(tmp_path / "pairs.jsonl", rows)
    done = fit(config(path, tmp_path / "out", kind=kind, target="reward_model", odin=True))
    assert list(done.report["rows"]) == [kind, "without ODIN", "TF-IDF baseline", "length alone"]
    found = done.report["length_correlation"]
    assert set(found) == {"before", "after", "length_head"}
    assert abs(found["after"]) < abs(found["before"])
    assert found["length_head"] > 0.5
    check_reward(RewardModel(str(done.folder)))


@pytest.mark.parametrize("kind", ["tfidf", "transformer"])
def test_members_of_an_ensemble_are_folders_and_are_measured_together(
    pairs: Preferences, tmp_path: Path, kind: str
) -> None:
    options: dict[str, Any] = {"kind": kind, "target": "reward_model", "members": 3}
    done = fit(config(answers(pairs, tmp_path), tmp_path / "out", **options))
    names = [f"member-{number}" for number in range(3)]
    assert list(done.report["rows"]) == [kind, *names, "TF-IDF baseline", "length alone"]
    assert (done.report["members"]["of"], list(done.report["fitting"])) == (names, names)
    assert done.report["members"]["spread"] > 0
    for name in names:
        check_reward(RewardModel(str(done.folder / name)))
    with pytest.raises(ConfigError, match="holds several models; name one of its folders member-0, member-1"):
        RewardModel(str(done.folder))
    fit(config(tmp_path / "pairs.jsonl", tmp_path / "out", **options))  # which may replace it


@pytest.mark.parametrize("kind", ["tfidf", "transformer"])
def test_orders_of_answers_are_fitted(tmp_path: Path, kind: str) -> None:
    draw = random.Random(0)
    rows = []
    for number in range(60):
        answers = [" ".join([word, *draw.choices(["on", "a", "it"], k=4)]) for word in ("gem", "pin", "oaf")]
        rows.append({"prompt": f"is it {number}", "answers": answers, "scores": [3, 2, 1], "ranks": [1, 2, 3]})
    path = written(tmp_path / "ranking.jsonl", rows)
    done = fit(config(path, tmp_path / "out", kind=kind, target="reward_model", ranking="plackett_luce"))
    assert done.report["rows"][kind]["accuracy"] > 0.9
    source = RewardModel(str(done.folder))
    found = source.score(
        make_rollouts([("gem on it", "pin on it", "oaf on it")], prompts=[Prompt(id="p", text="is it")])
    )
    values = [each.value for each in found if isinstance(each, Score)]
    assert values == sorted(values, reverse=True)
    assert len(values) == 3


def test_what_is_written_down(toy: Labelled, tmp_path: Path) -> None:
    done = fit(config(texts(toy, tmp_path), tmp_path / "out", positive="bad"))
    assert {path.name for path in done.folder.iterdir()} == {
        "fit.json",
        "weights.safetensors",
        "report.json",
        "calibration.json",
        "reliability.svg",
        "config.toml",
    }
    report = json.loads((done.folder / "report.json").read_text())
    assert report == json.loads(json.dumps(done.report))
    assert (report["learnt"] + report["held_out"], report["positive"]) == (120, "bad")
    assert report["rows"]["tfidf"]["accuracy"] > 0.95
    calibration = json.loads((done.folder / "calibration.json").read_text())
    assert calibration["temperature"] == report["fitting"]["temperature"]
    assert sum(row["count"] for row in calibration["reliability"]) == report["held_out"]
    assert FitConfig.load(done.folder / "config.toml").fit.out == str(tmp_path / "out")


def test_contradictions_and_leaks_are_reported(toy: Labelled, tmp_path: Path) -> None:
    path = texts(toy, tmp_path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows += [{**row, "group": "x"} for row in rows[:40]] + [
        {"text": "a gem", "label": label} for label in ("bad", "good")
    ]
    path = written(path, [{"group": f"g{n}", **row} for n, row in enumerate(rows)])
    chosen = config(path, tmp_path / "out")
    chosen.data.group = "group"
    report = fit(chosen).report
    assert (report["contradicting_rows"], report["a_contradicting_text"]) == (2, "a gem")
    assert report["left_out_because_held_out_too"] > 0
    assert report["learnt"] + report["held_out"] + report["left_out_because_held_out_too"] == len(rows)


def test_a_refit_replaces_the_folder_and_nothing_else_is_replaced(toy: Labelled, tmp_path: Path) -> None:
    path, out = texts(toy, tmp_path), tmp_path / "out"
    fit(config(path, out))
    before = (out / "report.json").read_bytes()
    fit(config(path, out))
    assert (out / "report.json").read_bytes() == before
    mine = tmp_path / "mine"
    mine.mkdir()
    with pytest.raises(ConfigError, match="is there and holds no fitted model; name another folder"):
        fit(config(path, mine))


def test_a_failure_leaves_nothing_behind(toy: Labelled, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = texts(toy, tmp_path / "data")
    with pytest.raises(ConfigError, match=r"positive = 'god' is not one of two labels; did you mean 'good'\?"):
        fit(config(path, tmp_path / "out", positive="god"))
    rows = [{"text": f"a gem {n}", "label": "good", "g": "1"} for n in range(9)] + [
        {"text": "oaf", "label": "bad", "g": "2"}
    ]
    chosen = config(written(path, rows), tmp_path / "out")
    chosen.data.group = "g"
    with pytest.raises(DataError, match=r"are all '(good|bad)'; give more rows, another \[fit\] seed"):
        fit(chosen)
    assert [each.name for each in tmp_path.iterdir()] == ["data"]


@pytest.mark.real
def test_what_people_cannot_answer_is_told_from_what_they_can(real_data: Path, tmp_path: Path) -> None:
    data = {
        "files": str(real_data / "data" / "unanswerable_selfaware.jsonl"),
        "text": "question",
        "label": "answerable",
    }
    fit_ = {"kind": "tfidf", "out": str(tmp_path / "out")}
    rows = fit(FitConfig.of({"data": data, "fit": fit_, "linear": {"strengths": [3.0]}})).report["rows"]
    assert rows["tfidf"]["auroc"] > 0.93
    assert rows["tfidf"]["auroc"] > rows["TF-IDF baseline"]["auroc"]
    assert rows["tfidf"]["brier"] < rows["TF-IDF baseline"]["brier"]


@pytest.mark.real
def test_preferences_of_people_are_learnt_over_chance(real_data: Path, tmp_path: Path) -> None:
    data = {
        "files": str(real_data / "data" / "pref_hh_harmless.jsonl"),
        "transcripts": True,
        "broken": "skip",
        "held_out": 0.4,
    }
    fit_ = {"kind": "tfidf", "target": "reward_model", "out": str(tmp_path / "out")}
    rows = fit(FitConfig.of({"data": data, "fit": fit_, "linear": {"strengths": [0.3]}})).report["rows"]
    low, _ = rows["tfidf"]["auroc_interval"]
    assert low > 0.5
    assert rows["tfidf"]["log_loss"] < 0.693
