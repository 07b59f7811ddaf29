from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

import rlaif_core as rl
from rlaif_core.protocols import Critic, State
from rlaif_core.testing import check_optimiser


class Ascent(rl.Optimiser):
    """A sound optimiser for the others to break: the policy gradient with Adam."""

    def prepare(self, policy: rl.Policy, steps: int) -> None:
        self.parameters = [p for p in policy.module.parameters() if p.requires_grad]
        if not self.parameters:
            raise rl.TrainingError("nothing to train")
        self.adam = torch.optim.Adam(self.parameters, lr=0.01)

    def step(self, policy: rl.Policy, experience: rl.Experience) -> Mapping[str, Any]:
        mask = experience.mask
        loss = -(policy.logprobs(experience.rollouts) * experience.advantages["reward"])[mask].mean()
        self.adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        policy.version += 1
        return {"loss": loss.item()}

    def state_dict(self) -> State:
        return {"adam": self.adam.state_dict()}

    def load_state_dict(self, state: State) -> None:
        self.adam.load_state_dict(state["adam"])


def test_a_sound_optimiser_passes() -> None:
    check_optimiser(Ascent)


class ReturnsNothing(Ascent):
    def step(self, policy: rl.Policy, experience: rl.Experience) -> Any:
        super().step(policy, experience)


class ReportsNaN(Ascent):
    def step(self, policy: rl.Policy, experience: rl.Experience) -> Mapping[str, Any]:
        return {**super().step(policy, experience), "kl": float("nan")}


class ReportsTensors(Ascent):
    def step(self, policy: rl.Policy, experience: rl.Experience) -> Mapping[str, Any]:
        return {**super().step(policy, experience), "kl": torch.tensor(0.0)}


class StandsStill(Ascent):
    def prepare(self, policy: rl.Policy, steps: int) -> None:
        super().prepare(policy, steps)
        self.adam.param_groups[0]["lr"] = 0.0


class KeepsTheVersion(Ascent):
    def step(self, policy: rl.Policy, experience: rl.Experience) -> Mapping[str, Any]:
        metrics = super().step(policy, experience)
        policy.version = 0
        return metrics


class MovesTheFrozen(Ascent):
    def step(self, policy: rl.Policy, experience: rl.Experience) -> Mapping[str, Any]:
        metrics = super().step(policy, experience)
        with torch.no_grad():
            for parameter in policy.module.parameters():
                parameter += 0.01
        return metrics


class Thaws(Ascent):
    def prepare(self, policy: rl.Policy, steps: int) -> None:
        super().prepare(policy, steps)
        next(iter(policy.module.parameters())).requires_grad_(False)


class Freezes(Ascent):
    def step(self, policy: rl.Policy, experience: rl.Experience) -> Mapping[str, Any]:
        metrics = super().step(policy, experience)
        policy.module.requires_grad_(False)
        return metrics


class Descends(Ascent):
    def prepare(self, policy: rl.Policy, steps: int) -> None:
        super().prepare(policy, steps)
        self.adam.param_groups[0]["maximize"] = True


class Diverges(Ascent):
    def step(self, policy: rl.Policy, experience: rl.Experience) -> Mapping[str, Any]:
        metrics = super().step(policy, experience)
        with torch.no_grad():
            self.parameters[0].fill_(float("nan"))
        return metrics


class WritesAdvantages(Ascent):
    def step(self, policy: rl.Policy, experience: rl.Experience) -> Mapping[str, Any]:
        experience.advantages["reward"].mul_(2)
        return super().step(policy, experience)


class Forgets(Ascent):
    def state_dict(self) -> State:
        return {}

    def load_state_dict(self, state: State) -> None:
        pass


class KeepsAnObject(Ascent):
    def state_dict(self) -> State:
        return {"adam": self.adam}


class RaisesWhateverTorchRaises(Ascent):
    def prepare(self, policy: rl.Policy, steps: int) -> None:
        self.adam = torch.optim.Adam([p for p in policy.module.parameters() if p.requires_grad], lr=0.01)


class TrainsNothing(Ascent):
    def prepare(self, policy: rl.Policy, steps: int) -> None:
        self.idle = not any(p.requires_grad for p in policy.module.parameters())
        if not self.idle:
            super().prepare(policy, steps)

    def step(self, policy: rl.Policy, experience: rl.Experience) -> Mapping[str, Any]:
        return {} if self.idle else super().step(policy, experience)


class CriticWithoutShape(Critic):
    gives = frozenset({"values"})

    def values(self, rollouts: rl.Rollouts) -> Tensor:
        return torch.zeros(len(rollouts))

    def values_after(self, rollouts: rl.Rollouts) -> Tensor:
        return torch.zeros(len(rollouts))


class BadCritic(Ascent):
    def critic(self) -> Critic:
        return CriticWithoutShape()


BAD_OPTIMISERS: list[tuple[type[Ascent], type[Exception], str]] = [
    (ReturnsNothing, rl.PluginError, r"ReturnsNothing\.step returned NoneType; return a mapping of metric names"),
    (ReportsNaN, rl.PluginError, r"reports 'kl' = nan; metrics are finite Python numbers"),
    (ReportsTensors, rl.PluginError, r"reports 'kl' = tensor\(0\.\)"),
    (StandsStill, rl.PluginError, "moved no parameter in 3 steps"),
    (KeepsTheVersion, rl.PluginError, "left policy.version at 0; add 1 for every update"),
    (MovesTheFrozen, rl.PluginError, "moved a frozen parameter; train those with requires_grad only"),
    (Thaws, rl.PluginError, r"Thaws\.prepare changed requires_grad of the policy's parameters"),
    (Freezes, rl.PluginError, r"Freezes\.step changed requires_grad of the policy's parameters"),
    (Descends, rl.PluginError, "made the better of two answers less likely against the worse in each of 3 steps"),
    (Diverges, rl.PluginError, "left NaN or inf in the parameter 'embedding.weight'"),
    (WritesAdvantages, rl.PluginError, r"changed its input experience\.advantages\['reward'\] in place"),
    (Forgets, rl.PluginError, r"state_dict does not hold all that a resumed run needs: after 3 more steps .* differs"),
    (KeepsAnObject, rl.CheckpointError, "state.optimiser.adam is a Adam, which a checkpoint cannot hold"),
    (
        RaisesWhateverTorchRaises,
        rl.PluginError,
        "nothing was trainable and it raised ValueError.*raise a TrainingError",
    ),
    (TrainsNothing, rl.PluginError, "without trainable parameters in silence"),
    (BadCritic, rl.PluginError, r"critic\(\)\.values is \(4,\) torch.float32, but must be \[B,T\] float32"),
]


@pytest.mark.parametrize(("build", "error", "sentence"), BAD_OPTIMISERS)
def test_each_defect_of_an_optimiser_is_told_by_its_own_sentence(
    build: type[Ascent], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        check_optimiser(build)


def test_what_makes_no_optimiser_is_refused() -> None:
    with pytest.raises(rl.PluginError, match=r"given an instance of Ascent, but must make several; give the class"):
        check_optimiser(Ascent())  # type: ignore[arg-type]
    with pytest.raises(rl.PluginError, match=r"Ascent is a class; give an instance of it"):
        check_optimiser(lambda: Ascent)  # type: ignore[arg-type, return-value]
    with pytest.raises(rl.PluginError, match=r"a object has no method prepare\(\)"):
        check_optimiser(object)  # type: ignore[arg-type]


def test_an_update_that_favours_no_answer_can_be_allowed() -> None:
    check_optimiser(Descends, improves=False)


def test_what_an_optimiser_raises_says_in_which_step() -> None:
    class Raises(Ascent):
        def step(self, policy: rl.Policy, experience: rl.Experience) -> Mapping[str, Any]:
            raise ZeroDivisionError("an empty batch")

    with pytest.raises(ZeroDivisionError) as caught:
        check_optimiser(Raises)
    assert "Raises.step in step 1" in caught.value.__notes__[0]


def test_every_channel_and_contributed_source_reaches_the_optimiser() -> None:
    seen: set[tuple[str, ...]] = set()

    class Constrained(Ascent):
        channels = frozenset({"reward", "cost:harm"})

        def sources(self) -> Mapping[str, rl.RewardSource]:
            return {"kl": type("Kl", (), {"score": lambda self, rollouts: [0.0] * len(rollouts)})()}

        def weights(self) -> Mapping[str, float]:
            return {"kl": 0.5}

        def step(self, policy: rl.Policy, experience: rl.Experience) -> Mapping[str, Any]:
            seen.add((*sorted(experience.advantages), *sorted(experience.feedback.outcomes)))
            assert experience.feedback.weights["kl"] == 0.5
            return super().step(policy, experience)

    check_optimiser(Constrained)
    assert seen == {("cost:harm", "reward", "cost:harm", "kl", "reward")}
