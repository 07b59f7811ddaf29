from __future__ import annotations

from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

import rlaif_core as rl
from rlaif_core.protocols import NoCritic, Stateful
from rlaif_core.testing import FakePolicy, make_rollouts


def test_sampling_without_options_draws_from_the_whole_distribution() -> None:
    sampling = rl.Sampling()
    assert not sampling.truncated
    assert (sampling.temperature, sampling.stop) == (1.0, ())
    with pytest.raises(FrozenInstanceError):
        sampling.top_k = 5  # type: ignore[misc]


@pytest.mark.parametrize("options", [{"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.1}])
def test_sampling_knows_when_some_tokens_cannot_be_drawn(options: dict[str, Any]) -> None:
    assert rl.Sampling(**options).truncated


@pytest.mark.parametrize("stop", ["end", ["end"], ("end",)])
def test_one_stop_string_may_come_alone_or_in_a_list(stop: Any) -> None:
    assert rl.Sampling(stop=stop).stop == ("end",)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"max_tokens": 0}, "sampling: max_tokens is 0, but must be at least 1"),
        ({"temperature": 0.0}, r"temperature is 0.0, but must be in \[0.001, 1000\]; for greedy use top_k = 1"),
        ({"temperature": 1e-39}, "temperature is 1e-39"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": -1}, r"top_k is -1, but must be 0 \(off\) or more"),
        ({"top_p": 0.0}, r"top_p is 0.0, but must be in \(0, 1\]"),
        ({"top_p": 1.5}, r"top_p is 1.5, but must be in \(0, 1\]"),
        ({"min_p": 1.0}, r"min_p is 1.0, but must be in \[0, 1\)"),
        ({"stop": ("end", "")}, "a stop string is empty"),
    ],
)
def test_sampling_that_cannot_be_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(rl.ConfigError, match=complaint):
        rl.Sampling(**options)


class Bare(rl.Optimiser):
    def step(self, policy: rl.Policy, experience: rl.Experience) -> dict[str, float]:
        return {}


def test_an_optimiser_inherits_what_it_does_not_say() -> None:
    optimiser = Bare()
    assert optimiser.channels == {"reward"}
    assert (optimiser.sources(), optimiser.weights(), optimiser.state_dict()) == ({}, {}, {})
    optimiser.prepare(FakePolicy(), 3)
    optimiser.load_state_dict({})
    with pytest.raises(rl.ConfigError, match=r"Bare was saved with state \['adam'\] but restores none"):
        optimiser.load_state_dict({"adam": 1})


def test_a_credit_that_asks_a_critic_that_is_not_there_is_told_what_to_do() -> None:
    critic = Bare().critic()
    assert isinstance(critic, NoCritic)
    assert critic.gives == frozenset()
    for ask in (critic.values, critic.values_after):
        with pytest.raises(rl.ConfigError, match="needs values, but the optimiser trains no critic; use an"):
            ask(make_rollouts())


def test_parts_are_recognised_by_their_methods() -> None:
    class Mine:
        def score(self, rollouts: rl.Rollouts) -> Sequence[float]:
            return [0.0] * len(rollouts)

    assert isinstance(Mine(), rl.RewardSource)
    assert not isinstance(Mine(), rl.Judge | rl.Action | Stateful)
    assert isinstance(FakePolicy(), Stateful)
    assert isinstance(FakePolicy().sampler(seed=0, step=0, group=1), rl.Sampler)
