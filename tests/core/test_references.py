"""Tables that name other parts: which judge hears of which, in what order they are built, and who gets the policy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rlaif_core as rl
from rlaif_core.run import check
from rlaif_core.testing import FakePolicy

PARTS = """
import rlaif_core as rl

BUILT = []

class Leaf:
    def __init__(self, value: float = 1.0) -> None:
        self.value = value
        BUILT.append(f"leaf {value}")

    def ask(self, questions):
        return [rl.Verdict(outcomes=tuple(rl.Score(self.value) for _ in q.answers)) for q in questions]

class Panel:
    def __init__(self, judges: list[rl.Judge], judge: rl.Judge | None = None, scale: float = 1.0) -> None:
        self.judges, self.judge, self.scale = judges, judge, scale
        BUILT.append(f"panel of {len(judges)}")

    def ask(self, questions):
        said = [judge.ask(questions) for judge in [*self.judges, *([self.judge] if self.judge else [])]]
        return [
            rl.Verdict(outcomes=tuple(rl.Score(self.scale * sum(o.value for o in its)) for its in zip(*outcomes)))
            for outcomes in ([verdict.outcomes for verdict in verdicts] for verdicts in zip(*said))
        ]

class Self(Leaf):
    def __init__(self, policy, most: int = 3) -> None:
        self.policy, self.value = policy, float(most)
        BUILT.append(type(policy).__name__)

class Asks:
    def __init__(self, judge: rl.Judge, every: int = 1) -> None:
        self.judge = judge

    def observe(self, step, experience):
        rollouts = experience.rollouts
        questions = [rl.Question(prompt=p, answers=(a,)) for p, a in zip(rollouts.prompts, rollouts.completions)]
        verdicts = self.judge.ask(questions)
        return {"asked": sum(verdict.outcomes[0].value for verdict in verdicts) / len(verdicts)}

@rl.hookimpl
def rlaif_judges():
    yield rl.Offer("leaf", Leaf, "one number")
    yield rl.Offer("panel", Panel, "the sum of others")
    yield rl.Offer("self", Self, "the policy itself")

@rl.hookimpl
def rlaif_observers():
    yield rl.Offer("asks", Asks, "asks a judge")
"""


@pytest.fixture
def plugins(tmp_path: Path) -> rl.Plugins:
    (tmp_path / "parts.py").write_text(PARTS)
    return rl.Plugins.load(files=[tmp_path / "parts.py"])


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., rl.RunConfig]:
    """A config with those judges, of which the reward asks "main"."""

    def build(judges: dict[str, Any], judge: str = "main", **tables: Any) -> rl.RunConfig:
        return rl.RunConfig.of(
            {
                "run": {"steps": 2, "out": str(tmp_path / "run"), "tensorboard": False},
                "policy": {"use": "tiny"},
                "prompts": {"batch": 2, "group": 2},
                "actions": [{"use": "sample", "max_tokens": 4}],
                "judges": judges,
                "rewards": [{"use": "judge", "judge": judge}],
                "credit": {"use": "group"},
                "optimiser": {"use": "reinforce", "lr": 0.1},
                **tables,
            }
        )

    return build


def run(config: rl.RunConfig, plugins: rl.Plugins) -> Any:
    prompts = [{"prompt": "is it red"}, {"prompt": "yes or no"}]
    return rl.run(config, plugins=plugins, policy=FakePolicy(), prompts=prompts, progress=False)


def built(plugins: rl.Plugins) -> list[str]:
    names: list[str] = plugins.find("judges", "leaf").offer.resolve().__init__.__globals__["BUILT"]
    return names


def test_judges_ask_judges_whatever_order_they_stand_in(config: Any, plugins: rl.Plugins) -> None:
    judges = {
        "main": {"use": "panel", "judges": ["low", "high"], "scale": 0.5},
        "high": {"use": "panel", "judges": ["low"], "judge": "three"},
        "low": {"use": "leaf", "value": 2},
        "three": {"use": "leaf", "value": 3},
    }
    history = run(config(judges), plugins)
    assert [step["reward"] for step in history] == [0.5 * (2 + (2 + 3))] * 2
    assert built(plugins) == ["leaf 2.0", "leaf 3.0", "panel of 1", "panel of 2"]  # each once, behind those it asks


def test_a_judge_may_be_the_policy_in_training(config: Any, plugins: rl.Plugins) -> None:
    history = run(config({"main": {"use": "self", "most": 4}}), plugins)
    assert history[0]["reward"] == 4
    assert built(plugins) == ["FakePolicy"]


def test_a_judge_may_be_named_by_the_environment(config: Any, plugins: rl.Plugins, monkeypatch: Any) -> None:
    monkeypatch.setenv("MY_JUDGE", "main")
    judges = {"main": {"use": "panel", "judge": "${MY_JUDGE}2", "judges": []}, "main2": {"use": "leaf"}}
    history = run(config(judges, "${MY_JUDGE}"), plugins)
    assert history[0]["reward"] == 1


def test_observers_ask_judges(config: Any, plugins: rl.Plugins) -> None:
    judges = {"main": {"use": "leaf", "value": 2}, "other": {"use": "leaf", "value": 7}}
    history = run(config(judges, observers=[{"use": "asks", "judge": "other"}]), plugins)
    assert [step["asked"] for step in history] == [7, 7]


@pytest.mark.parametrize(
    ("judges", "tables", "complaint"),
    [
        (
            {"main": {"use": "panel", "judges": ["lef"]}, "leaf": {"use": "leaf"}},
            {},
            r"judge 'panel' from .* asks judge 'lef', but there is no \[judges.lef\]; did you mean 'leaf'",
        ),
        ({}, {}, r"reward source 'judge' from .* asks judge 'main', but there is no \[judges.main\]\. Judges: none"),
        (
            {"main": {"use": "leaf"}},
            {"observers": [{"use": "asks", "judge": "mian"}]},
            r"observer 'asks' from .* asks judge 'mian', but .*; did you mean 'main'",
        ),
        (
            {"main": {"use": "panel", "judges": ["a"]}, "a": {"use": "panel", "judges": ["main"]}},
            {},
            "the judges 'main', 'a' ask one another in a circle; let one of them ask nobody",
        ),
        (
            {"main": {"use": "panel", "judges": ["main"]}},
            {},
            "the judges 'main' ask one another in a circle",
        ),
        (
            {"main": {"use": "panel", "judges": []}, "b": {"use": "leaf"}},
            {},
            r"\[judges.b\] is asked by nobody; name it",
        ),
        ({"main": {"use": "panel", "judges": "leaf"}}, {}, "option 'judges' is wrong: input should be a valid list"),
        ({"main": {"use": "panel"}}, {}, "judge 'panel'.*: option 'judges' is missing"),
        ({"main": {"use": "panel", "judges": [], "scal": 1}}, {}, "unknown option 'scal'; did you mean 'scale'"),
        ({"main": {"use": "self", "policy": "x"}}, {}, "judges with the policy of the run; drop its option 'policy'"),
        ({"main": {"use": "leaf", "judge": "b"}, "b": {"use": "leaf"}}, {}, "unknown option 'judge'"),
    ],
)
def test_what_names_nobody_is_told_before_anything_is_built(
    judges: dict[str, Any], tables: dict[str, Any], complaint: str, config: Any, plugins: rl.Plugins
) -> None:
    with pytest.raises(rl.ConfigError, match=complaint):
        check(config(judges, **tables), plugins)
    assert built(plugins) == []
