from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import rlaif_core as rl
from rlaif_core.protocols import State
from rlaif_core.testing import FakePolicy, check_policy
from rlaif_core.testing.fake import FakeSampler


class Ignoring(FakePolicy):
    """Draws the same whatever the seed."""

    def sampler(self, *, seed: int, step: int, group: int) -> FakeSampler:
        return FakeSampler(self, 0, step, group)


class Unseeded(FakePolicy):
    calls = 0

    def sampler(self, *, seed: int, step: int, group: int) -> FakeSampler:
        self.calls += 1
        return FakeSampler(self, self.calls, step, group)


class GregariousSampler(FakeSampler):
    def sample(self, prompts: Sequence[rl.Prompt], sampling: rl.Sampling) -> rl.Rollouts:
        return FakeSampler(self._policy, self._seed + len(prompts), self._step, self._group).sample(prompts, sampling)


class Gregarious(FakePolicy):
    def sampler(self, *, seed: int, step: int, group: int) -> FakeSampler:
        return GregariousSampler(self, seed, step, group)


class Lonely(FakePolicy):
    def sampler(self, *, seed: int, step: int, group: int) -> FakeSampler:
        return FakeSampler(self, seed, step, 1)


class ShortSampler(FakeSampler):
    def sample(self, prompts: Sequence[rl.Prompt], sampling: rl.Sampling) -> rl.Rollouts:
        rollouts = super().sample(prompts, replace(sampling, max_tokens=2))
        return replace(rollouts, finish=("length",) * len(rollouts))


class Short(FakePolicy):
    def sampler(self, *, seed: int, step: int, group: int) -> FakeSampler:
        return ShortSampler(self, seed, step, group)


class WarmSampler(FakeSampler):
    def sample(self, prompts: Sequence[rl.Prompt], sampling: rl.Sampling) -> rl.Rollouts:
        return replace(super().sample(prompts, sampling), temperature=1.0)


class ForgetsTheTemperature(FakePolicy):
    def sampler(self, *, seed: int, step: int, group: int) -> FakeSampler:
        return WarmSampler(self, seed, step, group)


class Sharper(FakePolicy):
    """Computes the log-probs of another distribution than it sampled from."""

    def forward(self, rollouts: rl.Rollouts, *, entropy: bool = False, hidden: bool = False) -> rl.Forward:
        return super().forward(replace(rollouts, temperature=0.5), entropy=entropy, hidden=hidden)


class Detached(FakePolicy):
    def forward(self, rollouts: rl.Rollouts, *, entropy: bool = False, hidden: bool = False) -> rl.Forward:
        said = super().forward(rollouts, entropy=entropy, hidden=hidden)
        return replace(said, logp=said.logp.detach())


class WithoutEntropy(FakePolicy):
    def forward(self, rollouts: rl.Rollouts, *, entropy: bool = False, hidden: bool = False) -> rl.Forward:
        return super().forward(rollouts, hidden=hidden)


class WrongHidden(FakePolicy):
    def __init__(self) -> None:
        super().__init__()
        self.hidden_size = 9


class RewritingSampler(FakeSampler):
    def extend(self, rollouts: rl.Rollouts, turns: Sequence[str], sampling: rl.Sampling) -> rl.Rollouts:
        longer = super().extend(rollouts, turns, sampling)
        return replace(longer, tokens=longer.tokens + 1)


class Rewriting(FakePolicy):
    def sampler(self, *, seed: int, step: int, group: int) -> FakeSampler:
        return RewritingSampler(self, seed, step, group)


class TidyingSampler(FakeSampler):
    def recorded(self, prompts: Sequence[rl.Prompt], answers: Sequence[Sequence[str]]) -> rl.Rollouts:
        rollouts = super().recorded(prompts, answers)
        return replace(rollouts, completions=tuple(text.upper() for text in rollouts.completions))


class Tidying(FakePolicy):
    def sampler(self, *, seed: int, step: int, group: int) -> FakeSampler:
        return TidyingSampler(self, seed, step, group)


class SilentSampler(FakeSampler):
    def recorded(self, prompts: Sequence[rl.Prompt], answers: Sequence[Sequence[str]]) -> rl.Rollouts:
        return replace(super().recorded(prompts, answers), recorded=False)


class HidesThatTheyWereRecorded(FakePolicy):
    def sampler(self, *, seed: int, step: int, group: int) -> FakeSampler:
        return SilentSampler(self, seed, step, group)


class AnotherReferenceBeside(FakePolicy):
    def reference_logprobs(self, rollouts: rl.Rollouts, *, hidden: bool = False) -> Tensor:
        return super().reference_logprobs(rollouts) - 0.1 * hidden * rollouts.mask


class FollowingReference(FakePolicy):
    def reference_logprobs(self, rollouts: rl.Rollouts, *, hidden: bool = False) -> Tensor:
        return self.logprobs(rollouts).detach()


class Stubborn(FakePolicy):
    def load_state_dict(self, state: State) -> None:
        pass


class SavesNothing(FakePolicy):
    def save(self, folder: Path) -> None:
        folder.mkdir()


BAD_POLICIES: list[tuple[type[FakePolicy], str]] = [
    (Ignoring, "draws the same answers whatever the seed"),
    (Unseeded, "drew other answers for the same seed, step and group"),
    (Gregarious, "draws other answers when a prompt comes alone"),
    (Lonely, "must draw `group` answers for each prompt"),
    (Short, "calls an answer of 2 tokens cut off, of at most 6"),
    (ForgetsTheTemperature, "must record the temperature"),
    (Sharper, "away from those that the sampler recorded"),
    (Detached, "carries no gradients"),
    (WithoutEntropy, "must give entropy, and hidden with last, when asked to"),
    (WrongHidden, r"hidden is \(6, \d+, 8\), but must be \[B,T,hidden_size\]"),
    (Rewriting, r"extend changed earlier tokens of answer 0"),
    (Tidying, "recorded must hand back the given answers"),
    (HidesThatTheyWereRecorded, r"sampler\(\)\.recorded must mark its rollouts as recorded, and no others are"),
    (AnotherReferenceBeside, "reference_logprobs moved with the policy"),
    (FollowingReference, "reference_logprobs moved with the policy"),
    (Stubborn, "load_state_dict does not bring back the policy"),
    (SavesNothing, "SavesNothing.save wrote nothing"),
]


@pytest.mark.parametrize(("build", "sentence"), BAD_POLICIES)
def test_each_defect_of_a_policy_is_told_by_its_own_sentence(build: type[FakePolicy], sentence: str) -> None:
    with pytest.raises(rl.PluginError, match=sentence):
        check_policy(build())


def test_nothing_random_is_left_behind() -> None:
    check_policy(FakePolicy())
    policy = FakePolicy()
    before = policy.state_dict()["module"]
    check_policy(policy)
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.state_dict()["module"].items())
