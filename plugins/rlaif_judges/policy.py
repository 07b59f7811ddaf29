"""The policy in training as its own judge: as it is now, as it was at the start, or averaged over its past."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from rlaif_core import ConfigError, Policy
from rlaif_core.protocols import State
from rlaif_judges.backends.local import Local
from rlaif_judges.hygiene import Hygiene
from rlaif_judges.opening import Unaccountable

Weights = Literal["now", "start", "average"]


class PolicyJudge(Unaccountable):
    """The policy judges answers, its own among them (Yuan et al. 2024, Self-rewarding language models).

    weights: "now" are those in training; "start" those that the run began with; "average" their exponential moving
    average, of which a share `decay` stays at every update, in float32. The last two keep a copy of what is trained.
    Without a judge that stands still, rewards drift with what they reward: watch a measure that the policy is not
    trained on.
    batch, mass: as for judge `transformers`. Nothing is cached, for the weights change.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        weights: Weights = "start",
        decay: float = 0.99,
        batch: int = 16,
        mass: float = 0.0,
        hygiene: Hygiene = Hygiene(),
    ) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"judge policy: decay is {decay}, but must be in [0, 1)")
        if batch < 1 or not 0 <= mass < 1:
            raise ConfigError(f"judge policy: batch is {batch}, mass {mass}; they must be >= 1 and in [0, 1)")
        hygiene.insist_that_votes_differ("policy")
        self._policy, self._kind, self._decay, self._seen = policy, weights, decay, policy.version
        self._kept = {} if weights == "now" else _copies(policy, torch.float32 if weights == "average" else None)
        backend = Local(policy, identity={"backend": "policy"}, batch=batch, mass=mass, weights=self._judging)
        super().__init__(backend, hygiene)

    def _follow(self) -> None:
        """Let the average take in where the policy has gone since it last judged or wrote."""
        updates, self._seen = self._policy.version - self._seen, self._policy.version
        if self._kind == "average" and updates > 0:
            stays = self._decay**updates
            for name, parameter in _trained(self._policy).items():
                self._kept[name].mul_(stays).add_(parameter, alpha=1 - stays)

    @contextmanager
    def _judging(self) -> Iterator[None]:
        """The kept weights in the place of those in training, which are not written to."""
        self._follow()
        own = {name: p for name, p in self._policy.module.named_parameters() if name in self._kept}
        now = {name: parameter.data for name, parameter in own.items()}
        try:
            for name, parameter in own.items():
                parameter.data = self._kept[name].to(parameter.dtype)
            yield
        finally:
            for name, parameter in own.items():
                parameter.data = now[name]

    def state_dict(self) -> State:
        return {"seen": self._seen, "kept": dict(self._kept)}

    def load_state_dict(self, state: State) -> None:
        self._seen = int(state["seen"])
        with torch.no_grad():
            for name, tensor in state["kept"].items():
                self._kept[name].copy_(tensor)


def _trained(policy: Policy) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in policy.module.named_parameters() if p.requires_grad}


def _copies(policy: Policy, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """What is trained, as it is now. An average needs float32: half precision cannot hold the steps it makes."""
    return {name: tensor.to(dtype or tensor.dtype, copy=True) for name, tensor in _trained(policy).items()}
