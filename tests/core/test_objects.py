"""Objects in place of tables: what is no such part is told before anything is built."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

import rlaif_core as rl
from rlaif_core.objects import accepted, described
from rlaif_core.testing import FakePolicy


class Spread:
    def assign(self, rollouts: Any, feedback: Any, critic: Any) -> Any: ...


class Draw:
    def act(self, sampler: Any, prompts: Any, draft: Any) -> Any: ...


class Bare:
    """An optimiser that has not inherited the rest of `rl.Optimiser`."""

    def prepare(self, policy: Any, steps: int) -> None: ...

    def step(self, policy: Any, experience: Any) -> Any: ...


def brief(prompt: rl.Prompt, completion: str) -> float:
    return -len(completion)


@pytest.mark.parametrize(
    ("objects", "complaint"),
    [
        ({"polcy": FakePolicy()}, r"run\(\) takes no 'polcy'; did you mean 'policy'\?"),
        ({"actions": []}, r"actions is \[\], but must be a list with one action at least"),
        ({"observers": []}, r"observers is \[\], but must be a list with one observer at least"),
        ({"observers": [Draw()]}, r"observer 1 'Draw' is a Draw, which has no observe\(\)"),
        ({"actions": Draw()}, "actions is <.*Draw object.*>, but must be a list"),
        ({"actions": [Draw(), brief]}, r"action 2 'function' is a function, which has no act\(\)"),
        ({"rewards": [rl.reward(brief)]}, "rewards is a list, but must be a dict from name to source"),
        (
            {"rewards": {"b": brief}},
            r"reward source 'b' is a plain function; write @rl.reward above it, or give rl.rew",
        ),
        ({"credit": Spread}, r"credit is the class Spread itself; give an object: Spread\(\.\.\.\)"),
        ({"optimiser": "grpo"}, r"optimiser is a str, which has no prepare\(\)"),
        ({"policy": Draw()}, r"policy is a Draw, which has no sampler\(\)"),
        ({"optimiser": Bare()}, r"optimiser is a Bare, which has no sources\(\); see rlaif_core.protocols"),
    ],
)
def test_what_is_no_such_part_is_told(objects: dict[str, Any], complaint: str) -> None:
    with pytest.raises(rl.ConfigError, match=complaint):
        accepted(objects)


def test_nothing_is_nothing() -> None:
    assert accepted({"credit": None, "rewards": {}, "prompts": None}) == {}


def test_an_object_that_counts_as_false_is_given_all_the_same() -> None:
    class Empty(Spread):
        def __len__(self) -> int:
            return 0

    assert set(accepted({"credit": Empty()})) == {"credit"}


def test_what_took_part_is_named_by_its_code() -> None:
    rewards = {"b": rl.reward(brief), "built": rl.reward(brief).build()()}
    objects = {"credit": Spread(), "actions": [Draw()], "rewards": rewards, "prompts": [{}]}
    here = __name__
    assert described(objects) == {
        "credit": f"{here}.Spread",
        "action 1 'Draw'": f"{here}.Draw",
        "reward source 'b'": f"{here}.brief",
        "reward source 'built'": f"{here}.brief",
    }


def test_the_program_is_named_as_others_import_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def code(**its: Any) -> str:
        monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(**its))
        monkeypatch.setattr(Draw, "__module__", "__main__")
        return described({"actions": [Draw()]})["action 1 'Draw'"]

    assert code(__file__="/somewhere/mine.py", __spec__=None) == "mine.Draw"
    assert code(__file__="/somewhere/mine.py", __spec__=SimpleNamespace(name="package.mine")) == "package.mine.Draw"
    assert code() == "__main__.Draw"  # a notebook
