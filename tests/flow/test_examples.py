"""Every example resolves, and those that need no data from elsewhere run."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import datasets
import pytest

import checkpoints
import rlaif_core as rl
from rlaif_core.cli import main
from rlaif_core.plugins import module_of
from rlaif_core.testing import make_rollouts
from rlaif_rewards.classifier import Classifier
from rlaif_rewards.fit.config import FitConfig
from rlaif_rewards.reward_model import RewardModel

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CONFIGS = sorted(path.name for path in EXAMPLES.glob("*.toml") if "[optimiser]" in path.read_text())
FITS = sorted(EXAMPLES.glob("fit/*.toml"))


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The root of the repository, and what the examples expect to be told."""
    monkeypatch.chdir(EXAMPLES.parent)
    (tmp_path / "real" / "data").mkdir(parents=True)
    (tmp_path / "real" / "data" / "pref_hh_harmless.jsonl").write_text("{}\n")
    monkeypatch.setenv("RLAIF_REAL_DATA", str(tmp_path / "real"))
    monkeypatch.setenv("MODEL", str(tmp_path / "model"))


def example(name: str) -> ModuleType:
    return module_of(EXAMPLES / name)


def test_every_file_is_in_the_list() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    assert len(CONFIGS) >= 4
    for path in EXAMPLES.iterdir():
        if path.suffix in (".toml", ".py"):
            assert f"| `{path.name}` |" in listed


@pytest.mark.parametrize("path", FITS, ids=lambda path: path.stem)
def test_what_fits_is_in_the_list_and_makes_sense(path: Path) -> None:
    assert f"| `fit/{path.name}` |" in (EXAMPLES / "README.md").read_text()
    assert FitConfig.load(path).expanded().fit.out.startswith("runs/")


def test_a_classifier_is_fitted_to_votes(tmp_path: Path) -> None:
    draw = random.Random(0)
    words = {"hate_speech": "oaf", "offensive_language": "lout", "neither": "bee"}
    rows = []
    for number in range(90):
        label = list(words)[number % 3]
        text = " ".join([*draw.choices(["the", "no", "in", "on", "it"], k=5), words[label]])
        rows.append({"tweet": text, **{name: 2 * (name == label) + (name == "neither") for name in words}})
    write(tmp_path / "real" / "data" / "safety_hate_offensive.jsonl", rows)
    checkpoints.checkpoint(tmp_path / "real" / "models" / "tiny-chat", "llama")
    out = tmp_path / "fitted"
    with checkpoints.quiet():
        assert main(["fit", "examples/fit/toxicity.toml", "--out", str(out)]) == 0
        reward = Classifier(str(out), label="neither")
    fine, rude = reward.score(make_rollouts(["it is the bee", "it is the oaf"]))
    assert fine.value > rude.value


def test_a_reward_model_is_fitted_to_preferences(tmp_path: Path) -> None:
    rows = [row(f"a kind answer {n % 7}", f"a rude answer {n % 5}", opening=f"question {n}") for n in range(60)]
    write(tmp_path / "real" / "data" / "pref_hh_harmless.jsonl", rows)
    checkpoints.checkpoint(tmp_path / "real" / "models" / "tiny-chat", "llama")
    out = tmp_path / "fitted"
    with checkpoints.quiet():
        assert main(["fit", "examples/fit/harmless.toml", "--out", str(out)]) == 0
        reward = RewardModel(str(out))
        kind, rude = reward.score(make_rollouts([("a kind answer", "a rude answer")], prompts=["Hi"]))
    assert kind.value > rude.value


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(its) + "\n" for its in rows))


@pytest.mark.parametrize("name", CONFIGS)
def test_it_resolves(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"examples/{name}"]) == 0
    assert "optimiser" in capsys.readouterr().out


def test_the_tiny_one_is_the_demo() -> None:
    from rlaif_lumen.demo import config

    tables, demo = rl.RunConfig.load("examples/tiny.toml").tables(), config(0, 30, Path("runs/tiny")).tables()
    for each in (tables, demo):
        each["run"].pop("save_every")
    assert tables == demo


def test_the_labelling_labels(tmp_path: Path) -> None:
    few = ["--set", "prompts.limit=12", "--out", str(tmp_path / "labels")]
    assert main(["label", "examples/label.toml", *few]) == 0
    rows = datasets.load_from_disk(str(tmp_path / "labels" / "preferences")).to_list()
    assert rows
    assert all(row["probability"] > 0.55 for row in rows)


def test_what_was_labelled_is_fitted(tmp_path: Path) -> None:
    labels, out = tmp_path / "labels", tmp_path / "fitted"
    few = ["--set", "prompts.options.count=80", "--set", 'label.what=["preferences", "scores"]']
    assert main(["label", "examples/label.toml", *few, "--out", str(labels)]) == 0
    config = tmp_path / "fit.toml"
    for kind, more in (("preferences", 'probability = "probability"'), ("scores", "")):
        config.write_text(
            f'[data]\nfiles = "{labels / kind}"\n{more}\n[fit]\nkind = "tfidf"\ntarget = "reward_model"\n'
            f'out = "{out / kind}"\n'
        )
        assert main(["fit", str(config)]) == 0
        rows = json.loads((out / kind / "report.json").read_text())["rows"]
        assert rows["tfidf"]["auroc"] > 0.75
        RewardModel(str(out / kind))


def test_the_tiny_one_runs(tmp_path: Path) -> None:
    small = ["--set", "run.steps=1", "--set", "prompts.batch=4", "--set", "prompts.options.count=8"]
    assert main(["run", "examples/tiny.toml", *small, "--out", str(tmp_path / "run")]) == 0


def test_adapters_run_on_any_model(tmp_path: Path) -> None:
    checkpoints.checkpoint(tmp_path / "model", "llama")
    assert main(["run", "examples/lora.toml", "--set", "run.steps=2", "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "policy" / "adapter" / "adapter_model.safetensors").is_file()


def test_asking_back_is_good_where_something_is_missing() -> None:
    questions = example("questions.py")
    asked = {row["prompt"]: rl.Prompt(id="p", text=row["prompt"], meta=row) for row in questions.questions()}
    opened, clear = asked["How far is it?"], asked["Say hello."]
    scores = [questions.asks_back(p, said).value for p in (opened, clear) for said in ("To where? ", "Far away.")]
    assert scores == [1, 0, 0, 1]


def row(chosen: str, rejected: str, opening: str = "Hi") -> dict[str, str]:
    start = f"\n\nHuman: {opening}\n\nAssistant: Yes?\n\nHuman: Why: because?"
    return {"chosen": f"{start}\n\nAssistant: {chosen}", "rejected": f"{start}\n\nAssistant: {rejected}"}


def test_transcripts_become_prompts_and_pairs() -> None:
    hh = example("hh.py")
    # "Hi" is in fold 0, for 72 + 105 leaves 0 when divided by 3.
    opened = {"messages": [{"role": "user", "content": "Hi"}]}
    assert hh.opening(row("a", "b"), fold=1) == hh.opening(row("a", "b"), held_out=True) == opened
    assert hh.opening(row("a", "b"), held_out=True, fold=1) is None
    assert hh.opening(row("a", "b")) is None
    asked = [{"role": "user", "content": "Why: because?"}]
    assert hh.pair(row("a", "b"), fold=1) == {"messages": asked, "chosen": "a", "rejected": "b"}
    assert hh.pair(row("", "b"), fold=1) is None
    assert hh.pair(row("a" * 800, "b"), fold=1) is None
    earlier = {"chosen": row("a", "b")["chosen"], "rejected": row("a", "b")["rejected"].replace("Yes?", "No.")}
    assert hh.pair(earlier, fold=1) is None


@pytest.mark.parametrize("kind", ["opening", "pair"])
def test_a_conversation_is_on_one_side_only(kind: str) -> None:
    change = getattr(example("hh.py"), kind)
    rows = [row("a", "b", opening=f"question {number}") for number in range(50)]
    sides = [(change(its) is not None, change(its, held_out=True) is not None) for its in rows]
    assert set(sides) == {(True, False), (False, True)}
    assert 10 <= sum(held for _, held in sides) <= 24


def test_a_classifier_learns_its_words_and_serves_as_a_reward(tmp_path: Path) -> None:
    classifier = example("classifier.py")
    model = checkpoints.checkpoint(tmp_path / "model", "llama", hidden_size=64)
    draw = random.Random(0)

    def texts(word: str, count: int) -> list[str]:
        return [" ".join(draw.choices(["the", "no", "in", word], k=6)) + f" {word}" for _ in range(count)]

    rows = [(text, 0) for text in texts("bee", 60)] + [(text, 1) for text in texts("oaf", 60)]
    with checkpoints.quiet():
        classifier.train(str(model), rows[::2], tmp_path / "toxicity", steps=40, lr=3e-3)
        assert classifier.auc(tmp_path / "toxicity", rows[1::2]) > 0.95
        reward = Classifier(str(tmp_path / "toxicity"), label="toxic", score="logodds", negate=True)
    said: Any = reward.score(make_rollouts(["the bee in the bee", "THE OAF! in the oaf @someone https://bee.bee"]))
    assert said[0].value > 0 > said[1].value


def test_half_of_the_rows_is_kept_for_a_second_opinion(tmp_path: Path) -> None:
    path = tmp_path / "tweets.jsonl"
    path.write_text("".join(f'{{"tweet": "t{number}", "class": "{number % 3}"}}\n' for number in range(7)))
    classifier = example("classifier.py")
    halves = [classifier.rows_of(path, half) for half in (0, 1)]
    assert halves[0] == [("t0", 1), ("t2", 0), ("t4", 1), ("t6", 1)]
    assert halves[1] == [("t1", 1), ("t3", 1), ("t5", 0)]
