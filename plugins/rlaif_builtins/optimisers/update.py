"""One update of the weights: gradients over micro-batches, checked, clipped, applied; AdamW and its learning rate.

A loss or gradient that is not finite raises before anything is applied, so the weights stay those before the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from rlaif_core.errors import ConfigError, TrainingError
from rlaif_core.protocols import Policy, State
from rlaif_core.types import Experience

Schedule = Literal["constant", "linear", "cosine"]
LossOf = Callable[[Experience, slice], tuple[Tensor, Mapping[str, Tensor | float]]]
"""From some rows of a batch, and which rows they are, to their share of the loss and of the metrics."""
PROBES = 10  # updates in a row without any movement of the weights after which training is pointless


class Update:
    """AdamW with a warm-up and a schedule over the run's steps.

    lr at the top; warmup: steps of linear increase; schedule: what follows, down to 0 at the last step unless constant.
    clip: largest norm of the gradient (0: no clipping). microbatch: answers in one forward and backward; it changes
    memory, never the gradient.
    """

    def __init__(
        self,
        *,
        lr: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        clip: float = 1.0,
        warmup: int = 0,
        schedule: Schedule = "constant",
        microbatch: int | None = None,
    ) -> None:
        if not lr >= 0 or not math.isfinite(lr):
            raise ConfigError(f"optimiser: lr is {lr}, but must be a finite number of at least 0")
        if microbatch is not None and microbatch < 1:
            raise ConfigError(f"optimiser: microbatch is {microbatch}, but must be at least 1")
        self.lr, self.clip, self.warmup, self.schedule, self.microbatch = lr, clip, warmup, schedule, microbatch
        self._adam = {"weight_decay": weight_decay, "betas": betas}
        self._begun, self._still = 0, 0

    def prepare(self, policy: Policy, steps: int, extra: Iterable[torch.nn.Parameter] = ()) -> None:
        """Take the policy's trainable parameters, and `extra` ones (a value head)."""
        self._named = {name: p for name, p in policy.module.named_parameters() if p.requires_grad}
        if not self._named:
            raise TrainingError("the policy has no trainable parameter: everything is frozen, so no step can change it")
        self._steps = steps
        self._parameters = [*self._named.values(), *extra]
        self._torch = torch.optim.AdamW(self._parameters, lr=self.lr, fused=_can_fuse(self._parameters), **self._adam)  # type: ignore[arg-type]

    def begin(self) -> float:
        """A run step begins: set its learning rate and return it."""
        self._begun += 1
        rate = self.lr * self._factor(self._begun)
        for group in self._torch.param_groups:
            group["lr"] = rate
        return rate

    def _factor(self, step: int) -> float:
        if step <= self.warmup:
            return step / self.warmup
        if self.schedule == "constant":
            return 1.0
        done = min((step - 1 - self.warmup) / max(self._steps - self.warmup, 1), 1.0)
        return 1 - done if self.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2

    def apply(self, policy: Policy, experience: Experience, loss_of: LossOf) -> dict[str, float]:
        """Sum `loss_of` over micro-batches, back-propagate and step; metrics are summed too."""
        self._torch.zero_grad(set_to_none=True)
        totals: dict[str, float] = {"loss": 0.0}
        for rows in _parts(len(experience.rollouts), self.microbatch):
            whole = rows.stop - rows.start == len(experience.rollouts)
            loss, metrics = loss_of(experience if whole else experience.take(range(rows.start, rows.stop)), rows)
            if not bool(torch.isfinite(loss)):
                raise TrainingError(f"the loss is {loss.item()}; the weights are left as they were before this step")
            loss.backward()  # type: ignore[no-untyped-call]
            totals["loss"] += loss.item()
            for name, value in metrics.items():
                totals[name] = totals.get(name, 0.0) + float(value)
        totals["grad_norm"] = self._step(policy, experience.focus)
        return totals

    def _step(self, policy: Policy, focus: Mapping[str, float]) -> float:
        if all(p.grad is None for p in self._named.values()):
            raise TrainingError("no parameter of the policy got a gradient: the loss does not depend on it")
        if focus:
            self._focus(focus)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.clip or math.inf)
        if not bool(torch.isfinite(norm)):
            self._torch.zero_grad(set_to_none=True)
            raise TrainingError(f"the gradient's norm is {norm.item()}; the weights are left as they were before this step")
        probe = self._probe() if self._still < PROBES and norm > 0 and self._torch.param_groups[0]["lr"] > 0 else None
        before = probe.detach().clone() if probe is not None else None
        self._torch.step()
        policy.version += 1
        if probe is not None and before is not None:
            self._still = self._still + 1 if torch.equal(before, probe) else -1
            if self._still >= PROBES:
                raise TrainingError(
                    f"{PROBES} updates did not move the weights: lr = {self.lr} is lost in rounding to {probe.dtype}; "
                    "raise lr or train in float32"
                )
            if self._still < 0:
                self._still = PROBES  # they move: no need to look again
        return norm.item()

    def _probe(self) -> Tensor:
        """The parameter with the largest gradient: the one that ought to move."""
        return max((p for p in self._named.values() if p.grad is not None), key=lambda p: float(p.grad.abs().max()))  # type: ignore[union-attr]

    def _focus(self, focus: Mapping[str, float]) -> None:
        """Scale the gradients of the named modules; the others stand still."""
        for name, parameter in self._named.items():
            scales = [(len(module), scale) for module, scale in focus.items() if name.startswith(module)]
            if parameter.grad is not None:
                parameter.grad.mul_(max(scales)[1] if scales else 0.0)

    def state_dict(self) -> State:
        return {"torch": self._torch.state_dict(), "begun": self._begun, "still": self._still}

    def load_state_dict(self, state: State) -> None:
        self._torch.load_state_dict(state["torch"])
        self._begun, self._still = state["begun"], state["still"]


def _parts(rows: int, size: int | None) -> list[slice]:
    size = size or rows
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def _can_fuse(parameters: list[Any]) -> bool:
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
