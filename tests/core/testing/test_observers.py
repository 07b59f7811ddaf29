from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import rlaif_core as rl
from rlaif_core.testing import check_observer


class Longest:
    """A moving maximum, the kind of thing that observers remember."""

    def __init__(self) -> None:
        self.best = 0

    def observe(self, step: int, experience: rl.Experience) -> Mapping[str, float]:
        self.best = max(self.best, *map(len, experience.rollouts.completions), step)
        return {"longest": self.best}

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = state["best"]


class Counts(Longest):
    """Observes otherwise each time, but the same from the same state."""

    def observe(self, step: int, experience: rl.Experience) -> Mapping[str, float]:
        self.best += 1
        return {"seen": self.best}


def observer(observe: Callable[[int, rl.Experience], Any]) -> Any:
    return type("Looks", (), {"observe": staticmethod(observe)})()


def stop(reason: str) -> Callable[..., Any]:
    def observe(step: int, experience: rl.Experience) -> Any:
        raise rl.Stop(reason) if reason else rl.Stop

    return observe


def test_good_observers_pass() -> None:
    check_observer(Longest())
    check_observer(Counts())
    check_observer(observer(lambda step, experience: {}))
    check_observer(observer(lambda step, experience: {"advantage": experience.advantages["reward"].abs().max().item()}))
    check_observer(observer(stop("enough is enough")))
    check_observer(observer(lambda step, experience: {"chance": random.random()}), repeatable=False)


def writes(step: int, experience: rl.Experience) -> Any:
    experience.advantages["reward"].zero_()
    return {}


BAD_OBSERVERS = {
    "no metrics": (lambda s, e: None, r"Looks\.observe returned a NoneType; return metrics by name, or \{\}"),
    "nan": (lambda s, e: {"x": float("nan")}, "metric 'x' is nan; whoever reports it must keep it finite"),
    "a taken name": (lambda s, e: {"reward": 1.0}, "an observer reports 'reward', which there is already"),
    "a number for a name": (lambda s, e: {3: 1.0}, "returned a metric called 3; a name is a text"),
    "writes": (writes, r"changed its input experience\.advantages\['reward'\] in place; copy it first"),
    "no reason": (stop(""), "stops the run without saying why; raise Stop with a reason"),
    "chance": (lambda s, e: {"x": random.random()}, r"reports something else .* when asked twice; what it remembers"),
}


@pytest.mark.parametrize("defect", BAD_OBSERVERS)
def test_each_defect_is_told_by_its_own_sentence(defect: str) -> None:
    observe, sentence = BAD_OBSERVERS[defect]
    with pytest.raises(rl.PluginError, match=sentence):
        check_observer(observer(observe))


def test_what_is_remembered_must_be_in_the_state() -> None:
    class Forgets(Longest):
        total = 0

        def observe(self, step: int, experience: rl.Experience) -> Mapping[str, float]:
            self.total += 1
            return {**super().observe(step, experience), "total": self.total}

    class Bare:
        calls = 0

        def observe(self, step: int, experience: rl.Experience) -> Mapping[str, float]:
            self.calls += 1
            return {"calls": self.calls}

    with pytest.raises(
        rl.PluginError, match=r"when its state is loaded again; all that .*: metrics\['total'\] changed"
    ):
        check_observer(Forgets())
    with pytest.raises(rl.PluginError, match=r"when asked twice; .* belongs into state_dict and load_state_dict"):
        check_observer(Bare())
