"""Float32 masters of bfloat16 parameters: what AdamW moves, while the policy computes with roundings of them.

A bfloat16 weight swallows every change below about 1/500 of it, and a second moment in bfloat16 that is to decay by
0.1% an update rounds back to where it was. So gradients are summed, moments kept and moves made in float32
(Micikevicius et al. 2017, "Mixed Precision Training", arXiv:1710.03740, section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from rlaif_core.errors import TrainingError


class Masters:
    """The float32 copies of those of some parameters that are bfloat16; the others are their own, at no cost."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._copies = {p: nn.Parameter(p.detach().float()) for p in parameters if p.dtype == torch.bfloat16}

    def of(self, parameter: nn.Parameter) -> nn.Parameter:
        """What is moved in place of `parameter`: its copy, or itself where it has none."""
        return self._copies.get(parameter, parameter)

    def gather(self) -> None:
        """Add the gradients of one micro-batch to the copies', so that how a batch is cut loses nothing in rounding."""
        for parameter, copy in self._copies.items():
            if parameter.grad is not None:
                copy.grad = parameter.grad.float() if copy.grad is None else copy.grad.add_(parameter.grad)
                parameter.grad = None

    @torch.no_grad()
    def spread(self) -> None:
        """Make the parameters the roundings of their copies again."""
        for parameter, copy in self._copies.items():
            parameter.copy_(copy)

    def state_dict(self) -> list[Tensor]:
        return [copy.detach() for copy in self._copies.values()]

    @torch.no_grad()
    def load_state_dict(self, saved: Sequence[Tensor]) -> None:
        """Take up saved copies; where a checkpoint has none, those of the parameters, which are loaded by then."""
        for copy, value in zip(self._copies.values(), saved or self._copies, strict=False):
            copy.copy_(value)


def refuse_float16(named: Mapping[str, nn.Parameter]) -> None:
    """Raise `TrainingError` if a parameter to be trained is float16: gradients underflow there, as do their squares."""
    for name, parameter in named.items():
        if parameter.dtype == torch.float16:
            raise TrainingError(
                f"the policy's parameter {name!r} is float16, in which small gradients become 0 and training destroys "
                "the weights; load the model in another: [policy] dtype = 'bfloat16', or 'float32'"
            )
