"""One update of the weights: gradients over micro-batches, checked, clipped, applied; AdamW and its learning rate.

A loss or gradient that is not finite raises before anything is applied, so the weights stay those before the step;
weights that an update itself made so raise after it. Of bfloat16 parameters it is float32 copies that move (`masters`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rlaif_builtins.optimisers.masters import Masters, refuse_float16
from rlaif_builtins.optimisers.parts import slices, taken
from rlaif_core.errors import ConfigError, TrainingError
from rlaif_core.options import OptionGroup
from rlaif_core.protocols import Policy, State
from rlaif_core.types import Experience

Schedule = Literal["constant", "linear", "cosine"]
LossOf = Callable[[Experience, slice], tuple[Tensor, Mapping[str, Tensor]]]
"""From some rows of a batch, and which rows they are, to their share of the loss and of the metrics."""
PROBES = 10
"""Updates in a row that leave nearly every weight where it was, after which training is pointless."""
MOVED = 0.01
"""The share of the weights with a gradient that must move. AdamW moves each by about lr, if its dtype can hold that."""


@dataclass(frozen=True, kw_only=True)
class Adam(OptionGroup):
    """How the weights move: AdamW (arXiv:1711.05101), with a warm-up and a schedule over the run's steps.

    lr: the highest; warmup: steps of linear increase up to it; schedule: what follows, falling to 0 as the run ends
    unless constant. clip: largest norm of the gradient (0: none). microbatch: answers in one forward and backward; it
    changes memory, never the gradient.
    """

    lr: float
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 1.0
    warmup: int = 0
    schedule: Schedule = "constant"
    microbatch: int | None = None

    def __post_init__(self) -> None:
        insist(
            "optimiser",
            (0 <= self.lr < math.inf, f"lr is {self.lr}, but must be a finite number of at least 0"),
            (
                0 <= self.weight_decay < math.inf,
                f"weight_decay is {self.weight_decay}, but must be a finite number of at least 0",
            ),
            (all(0 <= beta < 1 for beta in self.betas), f"betas are {self.betas}, but must be in [0, 1)"),
            (0 <= self.clip < math.inf, f"clip is {self.clip}, but must be a finite number of at least 0"),
            (self.warmup >= 0, f"warmup is {self.warmup}, but must be at least 0"),
            (
                self.microbatch is None or self.microbatch >= 1,
                f"microbatch is {self.microbatch}, but must be at least 1",
            ),
        )


def insist(owner: str, *checks: tuple[bool, str]) -> None:
    """Raise `ConfigError` with the text of the first check that does not hold."""
    for holds, text in checks:
        if not holds:
            raise ConfigError(f"{owner}: {text}")


class Update:
    """The torch optimiser behind a loss: micro-batches, checks, clipping, the learning rate of each step."""

    def __init__(self, adam: Adam) -> None:
        self.adam = adam
        self._done = 0
        self._still = 0  # updates in a row that moved next to nothing; -1 once the weights have been seen to move

    def prepare(self, policy: Policy, steps: int, extra: Iterable[torch.nn.Parameter] = ()) -> None:
        """Take the policy's trainable parameters, and `extra` ones (a value head)."""
        trainable = {name: p for name, p in policy.module.named_parameters() if p.requires_grad}
        if not trainable:
            raise TrainingError("the policy has no trainable parameter: everything is frozen, so no step can change it")
        refuse_float16(trainable)
        self._steps = steps
        self._weights = [*trainable.values(), *extra]  # what is computed with; the two below are what moves
        self._masters = Masters(self._weights)
        self._named = {name: self._masters.of(p) for name, p in trainable.items()}
        self._parameters = [self._masters.of(p) for p in self._weights]
        self._torch = torch.optim.AdamW(
            self._parameters,
            lr=self.adam.lr,
            betas=self.adam.betas,
            weight_decay=self.adam.weight_decay,
            fused=all(p.device.type in ("cpu", "cuda") for p in self._parameters),
        )

    @contextmanager
    def step(self) -> Iterator[float]:
        """A step of the run at its own learning rate, which is handed out; a step that raises does not count."""
        rate = self.adam.lr * self._factor(self._done + 1)
        for group in self._torch.param_groups:
            group["lr"] = rate
        yield rate
        self.skip()

    def skip(self) -> None:
        """A step of the run is over, whether there was something to learn in it or not."""
        self._done += 1

    def _factor(self, step: int) -> float:
        if step <= self.adam.warmup:
            return step / self.adam.warmup
        if self.adam.schedule == "constant":
            return 1.0
        done = min((step - 1 - self.adam.warmup) / max(self._steps - self.adam.warmup, 1), 1.0)
        return 1 - done if self.adam.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2

    def apply(
        self, policy: Policy, experience: Experience, loss_of: LossOf, microbatch: int | None = None
    ) -> dict[str, float]:
        """Sum `loss_of` over micro-batches, back-propagate and move the weights; metrics are summed too.

        `grad_norm` is the norm before clipping. The weights are only touched once all is known to be finite.
        """
        totals: dict[str, Tensor] = {}
        try:
            for rows in slices(len(experience.rollouts), microbatch or self.adam.microbatch):
                loss, metrics = loss_of(taken(experience, rows), rows)
                if not loss.requires_grad:
                    raise TrainingError("the loss does not depend on the policy's trainable parameters")
                loss.backward()  # type: ignore[no-untyped-call]
                self._masters.gather()
                for name, value in {"loss": loss.detach(), **metrics}.items():
                    totals[name] = totals[name] + value if name in totals else value
            measured = {name: _finite(name, float(total)) for name, total in totals.items()}
            return measured | {"grad_norm": self._move(policy, experience.focus)}
        finally:
            for parameter in (*self._weights, *self._parameters):
                parameter.grad = None

    def _move(self, policy: Policy, focus: Mapping[str, float]) -> float:
        held = self._focused(focus) if focus else []
        if all(p.grad is None for p in self._named.values()):
            raise TrainingError("the loss does not depend on the policy's trainable parameters: none got a gradient")
        clipped = torch.nn.utils.clip_grad_norm_(self._parameters, self.adam.clip or math.inf)
        norm = _finite("gradient's norm", float(clipped))
        watched = self._still >= 0 and self._done >= self.adam.warmup and self._torch.param_groups[0]["lr"] * norm > 0
        probe = self._steepest() if watched else None
        policy.version += 1  # first, for an interrupt may come when the weights have moved and before the next line
        self._torch.step()
        with torch.no_grad():
            for parameter, start, scale in held:
                parameter.lerp_(start, 1 - scale)
        self._masters.spread()
        self._insist_finite(norm)
        if probe is not None:
            self._watch(*probe)
        return norm

    def _insist_finite(self, norm: float) -> None:
        """Raise if the weights are lost; their norm is one pass and one number (above 1e19 it overflows, too)."""
        size = float(torch.nn.utils.get_total_norm(self._weights))
        if not math.isfinite(size):
            raise TrainingError(
                f"this update made the weights NaN or infinite, with lr = {self._torch.param_groups[0]['lr']:g}, "
                f"weight_decay = {self.adam.weight_decay:g} and a gradient of norm {norm:g}. Go on from the newest "
                "checkpoint with less: rlaif resume FOLDER --set optimiser.lr=..."
            )

    def _steepest(self) -> tuple[torch.nn.Parameter, Tensor] | None:
        """The policy's parameter that ought to move most, and a copy of it; None if only a value head has a slope."""
        slopes = [(float(p.grad.abs().max()), name) for name, p in self._named.items() if p.grad is not None]
        slope, name = max(slopes)
        return (self._named[name], self._named[name].detach().clone()) if slope > 0 else None

    def _watch(self, probe: torch.nn.Parameter, before: Tensor) -> None:
        """Count the updates that are lost in rounding, until one is not."""
        assert probe.grad is not None
        share = float((probe != before)[probe.grad != 0].float().mean())
        self._still = self._still + 1 if share < MOVED else -1
        if self._still == PROBES:
            raise TrainingError(
                f"the last {PROBES} updates left {1 - share:.1%} of the weights where they were: lr = {self.adam.lr} "
                f"is lost in rounding to {str(probe.dtype).removeprefix('torch.')}; raise lr"
            )

    def _focused(self, focus: Mapping[str, float]) -> list[tuple[torch.nn.Parameter, Tensor, float]]:
        """Leave out all parameters but those of the named modules (of nested ones, the innermost counts).

        AdamW's moves do not grow with the gradient, so it is the move that is scaled, afterwards: (parameter, its value
        before, scale) of each that calls for it.
        """
        within = {name: [module for module in focus if f"{name}.".startswith(f"{module}.")] for name in self._named}
        if idle := sorted(set(focus) - {module for modules in within.values() for module in modules}):
            raise TrainingError(
                f"the credit's focus names {idle[0]!r}, but no trainable parameter lies in such a module"
            )
        held = []
        for name, parameter in self._named.items():
            scale = focus[max(within[name], key=len)] if within[name] else 0.0
            if scale == 0:
                parameter.grad = None
            elif scale != 1:
                held.append((parameter, parameter.detach().clone(), scale))
        return held

    def state_dict(self) -> State:
        state = {"torch": self._torch.state_dict(), "done": self._done, "still": self._still}
        return {**state, "masters": self._masters.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Take up the moments and masters; how they move the weights stays as configured, also where that changed."""
        configured = {name: value for name, value in self._torch.param_groups[0].items() if name != "params"}
        self._torch.load_state_dict(state["torch"])
        self._torch.param_groups[0].update(configured)
        self._masters.load_state_dict(state.get("masters", []))
        self._done, self._still = state["done"], state["still"]


def _finite(what: str, value: float) -> float:
    if not math.isfinite(value):
        raise TrainingError(
            f"the {what} is {value}; the weights are left as they were before this update. "
            "Lower lr; if it is the first step, look at the rewards and at the model's dtype"
        )
    return value
