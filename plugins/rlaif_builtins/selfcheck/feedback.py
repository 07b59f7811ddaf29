"""What must hold of rewards on their way to advantages: where they stand, who is compared, who is left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import rlaif_kernels as rk
from rlaif_builtins.credits.gae import Gae
from rlaif_builtins.credits.group import Group
from rlaif_builtins.credits.leave_one_out import LeaveOneOut
from rlaif_builtins.selfcheck.models import reward_checkpoint
from rlaif_builtins.selfcheck.registry import check, hold
from rlaif_core import Abstain, Critic, Experience, Failed, Feedback, Plugins, Prompt, Rollouts, Score

Said = Sequence[Score | Abstain | Failed]


class Zero(Critic):
    """A critic that expects nothing, or the same everywhere."""

    gives = frozenset({"values"})

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def values(self, rollouts: Rollouts) -> Tensor:
        return torch.full(rollouts.mask.shape, self.value).where(rollouts.mask, torch.zeros(()))

    def values_after(self, rollouts: Rollouts) -> Tensor:
        return torch.full((len(rollouts),), self.value)


def written(mask: Sequence[Sequence[int]], group: Sequence[int], finish: str = "stop") -> Rollouts:
    """Rollouts with a mask written out by hand; the tokens themselves do not matter."""
    chosen = torch.tensor(mask, dtype=torch.bool)
    rows = len(mask)
    return Rollouts(
        prompts=tuple(Prompt(id=f"p{label}", text="?") for label in group),
        completions=("",) * rows,
        tokens=torch.zeros(chosen.shape, dtype=torch.int64),
        attend=torch.ones_like(chosen),
        mask=chosen,
        logp=torch.zeros(chosen.shape),
        group=torch.tensor(group),
        finish=(finish,) * rows,  # type: ignore[arg-type]
    )


def assigned(credit: Any, rollouts: Rollouts, said: dict[str, Said], critic: Critic | None = None) -> Experience:
    """The experience of a credit for given outcomes."""
    return credit.assign(rollouts, Feedback(outcomes={n: tuple(s) for n, s in said.items()}), critic or Zero())  # type: ignore[no-any-return]


def each(credit: Any, rewards: Sequence[float], group: Sequence[int]) -> list[float]:
    """The advantage of each answer's first chosen token."""
    drawn = written([[0, 1, 1]] * len(rewards), group)
    return assigned(credit, drawn, {"r": [Score(r) for r in rewards]}).advantages["reward"][:, 1].tolist()


@check(4, "the reward stands at the last chosen token, also before a tool's output")
def terminal() -> str:
    drawn = written([[0, 1, 1, 1, 0], [0, 1, 1, 0, 0], [0, 1, 0, 0, 1]], [0, 1, 2])
    advantages = assigned(Gae(lam=1.0, whiten=False), drawn, {"r": [Score(1.0)] * 3}).advantages["reward"]
    hold(torch.equal(advantages, drawn.mask.float()), f"with V = 0 and lambda = 1 advantages are {advantages.tolist()}")
    return "reward 1 reaches every chosen token, and no other"


@check(6, "an answer that was cut off is bootstrapped, one that ended is not")
def bootstrap() -> str:
    credit = Gae(truncated="bootstrap", whiten=False)
    cut = assigned(credit, written([[0, 1, 1, 1]], [0], "length"), {"r": [Score(0.0)]}, Zero(2.0))
    ended = assigned(credit, written([[0, 1, 1, 1]], [0]), {"r": [Score(0.0)]}, Zero(2.0))
    hold(bool((cut.advantages["reward"] == 0).all()), "a true value beyond the cut gave a non-zero advantage")
    hold(float(ended.advantages["reward"][0, 3]) == -2.0, "an ended answer was bootstrapped")
    return "V(s') = 2 counts behind a cut, 0 behind an end"


@check(14, "whitening looks at chosen tokens only, and survives having one or none")
def whitening() -> str:
    mask = torch.tensor([[True, True, False], [True, False, False]])
    values = torch.tensor([[1.0, 2.0, torch.nan], [6.0, 1e30, -torch.inf]])
    white = rk.masked_whiten(values, mask)
    hold(bool((white[~mask] == 0).all()), "masked places are not 0")
    kept = white[mask].double()
    hold(abs(float(kept.mean())) < 1e-6, f"the mean is {float(kept.mean()):.1e}")
    for count in (0, 1):
        few = torch.zeros(1, 3, dtype=torch.bool)
        few[0, :count] = True
        hold(bool(torch.isfinite(rk.masked_whiten(torch.ones(1, 3), few)).all()), f"{count} tokens give NaN")
    return "NaN and 1e30 under the mask changed nothing"


@check(16, "a group of equal rewards gives exactly 0, and leaving one out is K/(K-1) of the mean baseline")
def baselines() -> str:
    same = each(Group(), [0.1 + 0.2] * 3 + [0.3], [0, 0, 0, 0])
    hold(same == [0.0] * 4, f"rewards equal up to rounding gave {same}")
    rewards = [1.0, 2.0, 4.0, 9.0]
    loo, mean = each(LeaveOneOut(), rewards, [0] * 4), [reward - 4.0 for reward in rewards]
    worst = max(abs(a - 4 / 3 * b) for a, b in zip(loo, mean, strict=True))
    hold(worst < 1e-6, f"leave-one-out differs from its identity by {worst:.1e}")
    scaled = each(Group(), rewards, [0] * 4)
    hold(abs(sum(scaled)) < 1e-5, f"a group's advantages sum to {sum(scaled)}")
    return f"identity holds within {worst:.0e}"


@check(17, "groups stay together, wherever their members stand in the batch")
def together() -> str:
    rewards, group = [1.0, 2.0, 10.0, 30.0, 3.0, 20.0], [7, 7, 2, 2, 7, 2]
    order = [5, 0, 3, 4, 1, 2]
    for credit in (Group(), LeaveOneOut()):
        straight = each(credit, rewards, group)
        shuffled = each(credit, [rewards[i] for i in order], [group[i] for i in order])
        hold([straight[i] for i in order] == shuffled, f"{type(credit).__name__}: order changed the advantages")
    return "a shuffled batch gives the same advantages"


@check(18, "what abstained or failed is left out, never a number")
def missing() -> str:
    drawn = written([[0, 1]] * 4, [0] * 4)
    whole = each(Group(), [1.0, 2.0, 4.0], [0] * 3)
    for gap in (Abstain("no opinion"), Failed("timeout")):
        holed = assigned(Group(), drawn, {"r": [Score(1.0), Score(2.0), gap, Score(4.0)]})
        left = holed.advantages["reward"][[0, 1, 3], 1].tolist()
        worst = max(abs(a - b) for a, b in zip(left, whole, strict=True))
        hold(worst < 1e-6, f"{type(gap).__name__} moved its siblings' advantages by {worst:.1e}")
        hold(float(holed.advantages["reward"][2, 1]) == 0, f"{type(gap).__name__} became an advantage")
        hold(holed.counted is not None and not bool(holed.counted[2]), f"{type(gap).__name__} counts in the loss")
    two = assigned(
        Group(),
        drawn,
        {"a": [Score(1.0 * n) for n in range(4)], "b": [Score(9.0), Abstain(""), Score(0.0), Score(0.0)]},
    )
    same = each(Group(), [0.0, 1.0, 2.0, 3.0], [0] * 4)
    hold(
        torch.allclose(two.advantages["reward"][:, 1], torch.tensor(same)),
        "a source that is silent about one answer still counts for its siblings",
    )
    return "the others are compared as if it were not there"


@check(21, "a score is read at the last token of the answer, also where padding looks like its end")
def score_position() -> str:
    with reward_checkpoint() as folder:
        options = {"model": str(folder), "with_prompt": "none", "append_eos": True, "device": "cpu"}
        model = Plugins.load().build("rewards", "reward_model", options)
    answers = ("w1", "w2 w3 w4 w5", "w6 w7")
    drawn = dataclasses.replace(written([[0, 1]] * 3, [0] * 3), completions=answers)
    scores = [outcome.value for outcome in model.score(drawn) if isinstance(outcome, Score)]
    checkpoint = model.scorers[0].checkpoint
    tokeniser, network = checkpoint.tokeniser, checkpoint.model
    ids = [[*tokeniser(answer).input_ids, tokeniser.eos_token_id] for answer in answers]
    with torch.no_grad():
        states = [
            network.model(input_ids=torch.tensor([row]), attention_mask=torch.ones(1, len(row))).last_hidden_state[
                0, -1
            ]
            for row in ids
        ]
        alone = [float(network.score(state)) for state in states]
    worst = max(abs(a - b) for a, b in zip(scores, alone, strict=True))
    hold(len(scores) == 3, "a reward model abstained or failed")
    hold(worst < 1e-5, f"in a padded batch the scores are off by {worst:.1e}")
    return f"padding = end of sequence; a batch agrees with single rows within {worst:.0e}"
