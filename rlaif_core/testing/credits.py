"""The contract of a credit assignment: an advantage for every chosen token of the answers that count."""

from __future__ import annotations

import torch

from rlaif_core.errors import PluginError, blame
from rlaif_core.feedback import Feedback
from rlaif_core.protocols import Credit, Critic
from rlaif_core.testing.compare import difference, snapshot, untouched
from rlaif_core.testing.contract import check_state, named, remembered
from rlaif_core.testing.fake import FakeCritic
from rlaif_core.testing.values import awkward_feedback, awkward_rollouts, make_rollouts, wider
from rlaif_core.types import Experience, Rollouts


def check_credit(credit: Credit, *, critic: Critic | None = None, tolerance: float = 1e-4) -> None:
    """Check a credit assignment: channels, who counts, order, padding, memory, and what it does to its input.

    Shapes, finiteness and zeros off-mask are checked by `Experience` itself. `critic` replaces the `FakeCritic`.
    """
    part = named(credit, "assign")
    start = remembered(credit)
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
    _check_company(credit, part, critic, tolerance)
    check_state(credit, start)


def _check_company(credit: Credit, part: str, critic: Critic, tolerance: float) -> None:
    """Neither the order of the rows nor the padding that longer company brings may change an advantage."""
    rollouts = make_rollouts([("yes", "no please"), ("it is red", "blue")])
    feedback = awkward_feedback(rollouts)["plain scores"]
    rows = list(reversed(range(len(rollouts))))
    straight = _assigned(credit, part, rollouts, feedback, critic, "an ordinary batch")
    mirrored = _assigned(credit, part, rollouts.take(rows), feedback.take(rows), critic, "a batch in reverse")
    padded = _assigned(credit, part, wider(rollouts), feedback, critic, "a batch padded wider")
    expected = straight.advantages["reward"]
    for situation, its in (
        ("the rows come in reverse order", mirrored.advantages["reward"][rows]),
        ("the batch is padded wider", padded.advantages["reward"][:, : expected.shape[1]]),
    ):
        if not torch.allclose(expected, its, atol=tolerance, rtol=tolerance):
            raise PluginError(f"{part} gives an answer another advantage when {situation}")


def _assigned(
    credit: Credit, part: str, rollouts: Rollouts, feedback: Feedback, critic: Critic, given: str
) -> Experience:
    with blame(f"{part} on {given}"), untouched(part, rollouts=rollouts, feedback=feedback):
        experience = credit.assign(rollouts, feedback, critic)
    if not isinstance(experience, Experience):
        raise PluginError(f"{part} returned a {type(experience).__name__}; return an Experience")
    if experience.rollouts is not rollouts or experience.feedback is not feedback:
        raise PluginError(f"{part} must pass on the rollouts and feedback that it was given")
    _check_counted(experience, part, given)
    for channel in dict.fromkeys(feedback.channels.values()):
        if channel not in experience.advantages:
            raise PluginError(f"{part} gave no advantages for channel {channel!r} ({given})")
        if experience.advantages[channel].requires_grad:
            raise PluginError(f"{part} returned advantages that carry gradients; detach them")
    return experience


def _check_counted(experience: Experience, part: str, given: str) -> None:
    """What nobody scored must not count at all: even with an advantage of 0 it would be in the denominators."""
    assert experience.counted is not None
    _, scored = experience.feedback.by_channel(experience.rollouts.group)
    if bool((experience.counted.cpu() & ~scored).any()):
        raise PluginError(
            f"{part} counts an answer that nobody scored ({given}); leave it out: "
            "Experience(counted=...) False where feedback.by_channel(group)[1] is"
        )
