"""Optimisers under a microscope: policies whose every answer can be enumerated or whose every log-prob is given."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from unittest import mock

import torch
from torch import Tensor

from rlaif_core import Experience, Feedback, Optimiser, Policy, Prompt, Rollouts
from rlaif_core.protocols import Forward
from rlaif_core.testing import FakePolicy, make_feedback

END, WORDS, LONGEST = 0, (1, 2), 3
STATES = 4 ** (LONGEST + 1)


class Table(torch.nn.Module):
    """Logits of their own for whatever follows every prefix of the tokens 0, 1 and 2: [B,T] -> [B,T,3] f64.

    The hidden state is one-hot in the prefix, so that a linear head on it is a table of values.
    """

    def __init__(self) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.randn(STATES, 3, dtype=torch.float64))

    def forward(self, tokens: Tensor, attend: Tensor) -> tuple[Tensor, Tensor]:
        base = 4 ** torch.arange(tokens.shape[1])
        prefix = ((tokens + 1) * attend * base).cumsum(1)
        return torch.nn.functional.one_hot(prefix, STATES).double(), self.logits[prefix]


def table_policy() -> FakePolicy:
    """A policy of three tokens with free probabilities after every prefix; its reference lies elsewhere."""
    policy = FakePolicy(("a",))
    policy.module, policy.hidden_size = Table(), STATES
    policy.keep_reference()
    with torch.no_grad():
        policy.module.logits.add_(torch.randn(STATES, 3))
    return policy


def every_answer() -> list[tuple[int, ...]]:
    """All 15 answers that three tokens can make: those that end, and those that the length limit cuts off."""
    ended = [(*words, END) for length in range(LONGEST) for words in itertools.product(WORDS, repeat=length)]
    return ended + list(itertools.product(WORDS, repeat=LONGEST))


def rollouts_of(policy: Policy, answers: Sequence[tuple[int, ...]], group: Sequence[int] | None = None) -> Rollouts:
    """The answers to a prompt of one token, fresh from the policy."""
    labels = list(group) if group is not None else [0] * len(answers)
    padded = [(1, *answer, *[END] * (LONGEST - len(answer))) for answer in answers]
    attend = torch.tensor([[t <= len(answer) for t in range(LONGEST + 1)] for answer in answers])
    mask = attend.clone()
    mask[:, 0] = False
    rollouts = Rollouts(
        prompts=tuple(Prompt(id=str(label), text="?") for label in labels),
        completions=tuple(" ".join(map(str, answer)) for answer in answers),
        tokens=torch.tensor(padded),
        attend=attend,
        mask=mask,
        logp=torch.zeros(mask.shape),
        group=torch.tensor(labels),
        finish=tuple("stop" if answer[-1] == END else "length" for answer in answers),
        policy_version=policy.version,
    )
    with torch.no_grad():
        return replace(rollouts, logp=policy.logprobs(rollouts).float())


class Listed(Policy):
    """A policy whose log-probs are its parameters: row i's are `logp[i]`, its reference's `reference[i]`.

    Its rollouts name the row in their first token, so that they may come in any order and number.
    """

    def __init__(self, logp: Tensor, reference: Tensor) -> None:
        self.module = torch.nn.Module()
        self.module.logp = torch.nn.Parameter(logp)
        self.version, self.hidden_size, self._reference = 0, 1, reference

    def forward(self, rollouts: Rollouts, *, entropy: bool = False, hidden: bool = False) -> Forward:
        logp = self.module.logp[rollouts.tokens[:, 0]].where(rollouts.mask, 0.0)
        return Forward(logp, -logp * logp.exp() if entropy else None)

    def keep_reference(self) -> None:
        pass

    def reference_logprobs(self, rollouts: Rollouts, *, hidden: bool = False) -> Tensor:
        return self._reference[rollouts.tokens[:, 0]].where(rollouts.mask, 0.0)

    def rollouts(self, old: Tensor, mask: Tensor, group: Sequence[int] | None = None) -> Rollouts:
        """One answer a row, drawn by the policy that gave them the log-probs `old`, an earlier version of this one."""
        rows = len(old)
        first = torch.arange(rows)[:, None]
        return Rollouts(
            prompts=(Prompt(id="p", text="?"),) * rows,
            completions=("",) * rows,
            tokens=torch.cat([first, torch.zeros(rows, old.shape[1] - 1, dtype=torch.int64)], 1),
            attend=torch.ones_like(mask),
            mask=mask,
            logp=old.float().where(mask, 0.0),
            group=torch.tensor(list(group) if group is not None else [0] * rows),
            finish=("stop",) * rows,
            policy_version=self.version - 1,
        )


def experienced(
    rollouts: Rollouts,
    advantages: Tensor,
    returns: Tensor | None = None,
    feedback: Feedback | None = None,
    **extra: object,
) -> Experience:
    """Experience with the given advantages, [B] or [B,T], on the chosen tokens."""

    def spread(values: Tensor) -> Tensor:
        values = values if values.dim() == 2 else values[:, None]
        return values.float().expand(rollouts.mask.shape).where(rollouts.mask, 0.0)

    return Experience(
        rollouts=rollouts,
        feedback=feedback or make_feedback(rollouts),
        advantages={"reward": spread(advantages)},
        returns={"reward": spread(advantages if returns is None else returns)},
        **extra,
    )


def gradients(optimiser: Optimiser, policy: Policy, experience: Experience) -> list[Tensor]:
    """The gradient, as one vector, of every update that `step` makes; the policy stays as it is."""
    seen: list[Tensor] = []
    update, version = optimiser._update, policy.version

    def look() -> None:
        parts = [p.grad if p.grad is not None else torch.zeros_like(p) for p in update._parameters]
        seen.append(torch.cat([part.detach().double().flatten() for part in parts]))

    with mock.patch.object(update._torch, "step", look):
        optimiser.step(policy, experience)
    policy.version = version
    return seen
