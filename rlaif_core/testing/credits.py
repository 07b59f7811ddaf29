"""The contract of a credit assignment: an advantage for every chosen token of the answers that count."""

from __future__ import annotations

import torch

from rlaif_core.errors import PluginError, blame
from rlaif_core.feedback import Feedback
from rlaif_core.protocols import Credit, Critic
from rlaif_core.testing.compare import difference, snapshot, untouched
from rlaif_core.testing.contract import named
from rlaif_core.testing.fake import FakeCritic
from rlaif_core.testing.values import awkward_feedback, awkward_rollouts, make_rollouts
from rlaif_core.types import Experience, Rollouts


def check_credit(credit: Credit, *, critic: Critic | None = None, tolerance: float = 1e-4) -> None:
    """Check a credit assignment: channels, rows that do not count, order, memory, and what it does to its input.

    Shapes, finiteness and zeros off-mask are checked by `Experience` itself. `critic` replaces the `FakeCritic`.
    """
    part = named(credit, "assign")
    critic = critic or FakeCritic()
    if lacking := frozenset(getattr(credit, "needs", ())) - critic.gives:
        raise PluginError(
            f"{part} needs {sorted(lacking)} of the critic; call check_credit with a critic that gives it"
        )
    for batch, rollouts in awkward_rollouts().items():
        for kind, feedback in awkward_feedback(rollouts).items():
            given = f"{batch} with {kind}"
            first = _assigned(credit, part, rollouts, feedback, critic, given)
            again = _assigned(credit, part, rollouts, feedback, critic, given)
            if path := difference(snapshot(first, "experience"), snapshot(again, "experience")):
                raise PluginError(f"{part} answers differently when asked twice about {given}: {path} changed")
    rollouts = make_rollouts([("yes", "no please"), ("it is red", "blue")])
    feedback = awkward_feedback(rollouts)["plain scores"]
    rows = list(reversed(range(len(rollouts))))
    straight = _assigned(credit, part, rollouts, feedback, critic, "an ordinary batch")
    mirrored = _assigned(credit, part, rollouts.take(rows), feedback.take(rows), critic, "a batch in reverse")
    one, other = straight.advantages["reward"][rows], mirrored.advantages["reward"]
    if not torch.allclose(one, other, atol=tolerance, rtol=tolerance):
        raise PluginError(f"{part} gives an answer another advantage when the rows come in reverse order")


def _assigned(
    credit: Credit, part: str, rollouts: Rollouts, feedback: Feedback, critic: Critic, given: str
) -> Experience:
    with blame(f"{part} on {given}"), untouched(part, rollouts=rollouts, feedback=feedback):
        experience = credit.assign(rollouts, feedback, critic)
    if not isinstance(experience, Experience):
        raise PluginError(f"{part} returned a {type(experience).__name__}; return an Experience")
    if experience.rollouts is not rollouts or experience.feedback is not feedback:
        raise PluginError(f"{part} must pass on the rollouts and feedback that it was given")
    _, counted = feedback.by_channel(rollouts.group)
    for channel in dict.fromkeys(feedback.channels.values()):
        if channel not in experience.advantages:
            raise PluginError(f"{part} gave no advantages for channel {channel!r} ({given})")
        if experience.advantages[channel].requires_grad:
            raise PluginError(f"{part} returned advantages that carry gradients; detach them")
        learnt = experience.advantages[channel][~counted] * experience.mask[~counted]
        if bool((learnt != 0).any()):
            raise PluginError(
                f"{part} gave an answer that nobody scored an advantage ({given}); leave it out by counted"
            )
    return experience
