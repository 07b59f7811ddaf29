"""What optimisers are tried on: a policy that is cheap to train, a batch that is hard to cut, a step looked into."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rlaif_core import Abstain, Experience, Optimiser, Policy, Score
from rlaif_core.testing import FakePolicy, make_experience, make_feedback, make_rollouts

ANSWERS = (
    ("yes please", "no", "maybe it is blue and red"),
    ("red and green", "is it", "green"),
    ("one or two or one", "thanks"),
)
SAID = (Score(1.0), Score(0.0), Score(0.25), Score(0.0), Abstain("no opinion"), Score(1.0), Score(0.5), Score(0.75))


def batch() -> Experience:
    """Eight answers of two to seven tokens, one of which does not count: hardly a cut leaves two parts alike."""
    rollouts = make_rollouts(ANSWERS)
    return make_experience(rollouts, make_feedback(rollouts, {"it": SAID}))


def moved() -> FakePolicy:
    """A policy some way from its reference, and from the one that `batch` was drawn with: always the same."""
    of, chance = FakePolicy(), torch.Generator().manual_seed(0)
    of.keep_reference()
    with torch.no_grad():
        for parameter in of.module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=chance))
    of.version += 1
    return of


def stepped(optimiser: Optimiser, of: Policy, experience: Experience) -> tuple[Tensor, Mapping[str, float]]:
    """The gradient that a first step descends, as one vector, and what the step reports.

    The weights afterwards would hide a wrong scale, for Adam's first move is as long whatever the gradient's is.
    """
    optimiser.prepare(of, 1)
    parameters = [parameter for parameter in of.module.parameters() if parameter.requires_grad]
    seen = {parameter: torch.zeros_like(parameter) for parameter in parameters}

    def keep(parameter: Tensor) -> None:
        assert parameter.grad is not None
        seen[parameter] = parameter.grad.clone()  # type: ignore[index]

    for parameter in parameters:
        parameter.register_post_accumulate_grad_hook(keep)  # type: ignore[no-untyped-call]
    reported = optimiser.step(of, experience)
    return torch.cat([gradient.flatten() for gradient in seen.values()]), reported
