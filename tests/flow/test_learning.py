"""Every optimiser with every credit that suits it learns to say the colour that it was asked for, seed after seed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

import rlaif_core as rl
from rlaif_builtins.actions.replay import Replay
from rlaif_builtins.actions.sample import Sample
from rlaif_builtins.credits.gae import Gae
from rlaif_builtins.credits.group import Group
from rlaif_builtins.credits.leave_one_out import LeaveOneOut
from rlaif_builtins.credits.terminal import Terminal
from rlaif_builtins.optimisers.dpo import Dpo
from rlaif_builtins.optimisers.grpo import Grpo
from rlaif_builtins.optimisers.ppo import Ppo
from rlaif_builtins.optimisers.reinforce import Reinforce
from rlaif_builtins.optimisers.update import Adam
from rlaif_builtins.recorded import Recorded
from rlaif_core.loop import Loop, Source, advance
from rlaif_core.prompts import Prompts
from rlaif_core.testing import FakePolicy

COLOURS = ("red", "green", "blue")
SEEDS = (1, 2, 3)
LENGTH = 4
ADAM = Adam(lr=0.05)

ONLINE = {
    "reinforce, terminal": (lambda: Reinforce(kl=0.01, adam=ADAM), Terminal(baseline="mean")),
    "reinforce, leave_one_out": (lambda: Reinforce(kl=0.01, adam=ADAM), LeaveOneOut()),
    "reinforce, group": (lambda: Reinforce(kl=0.01, adam=ADAM), Group()),
    "grpo, group": (lambda: Grpo(adam=ADAM), Group()),
    "grpo, two epochs of token means": (lambda: Grpo(epochs=2, aggregation="token_mean", adam=ADAM), Group()),
    "grpo, leave_one_out": (lambda: Grpo(adam=ADAM), LeaveOneOut()),
    "ppo, gae": (lambda: Ppo(kl=0.01, adam=ADAM), Gae()),
    "ppo in minibatches": (lambda: Ppo(epochs=2, minibatches=3, kl=0.01, adam=ADAM), Gae()),
    "dpo on its own answers": (lambda: Dpo(beta=0.1, adam=ADAM), Group()),
}


def share(colour: str, answer: str) -> float:
    """The gold of an answer: how many of its words are the colour asked for."""
    words = answer.split()
    return words.count(colour) / max(len(words), 1)


def golds(rollouts: rl.Rollouts) -> list[float]:
    pairs = zip(rollouts.prompts, rollouts.completions, strict=True)
    return [share(prompt.meta["colour"], completion) for prompt, completion in pairs]


class Gold:
    """The gold itself as feedback, `scale` times."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def score(self, rollouts: rl.Rollouts) -> Sequence[rl.Score]:
        return [rl.Score(self.scale * value) for value in golds(rollouts)]


def recorded(colour: str) -> dict[str, object]:
    """A row of the dataset: the colour asked for, and answers that somebody gave with their gold."""
    answers = [f"{colour} {colour}", f"maybe {colour}", "yes please thanks", "no and no", "one two or one"]
    answers += [f"{other} {other}" for other in COLOURS if other != colour]
    return {"colour": colour, "answers": answers, "scores": [share(colour, answer) for answer in answers]}


def loop_of(policy: FakePolicy, optimiser: rl.Optimiser, credit: rl.Credit, seed: int, **changes: object) -> Loop:
    """The five verbs over one prompt a colour, eight answers each."""
    rows = [rl.Prompt(id=colour, text=f"is it {colour}", meta=recorded(colour)) for colour in COLOURS]
    optimiser.prepare(policy, 100)
    sources = {"gold": Source(Gold())} | {
        name: Source(source, contributed=True) for name, source in optimiser.sources().items()
    }
    options = {"actions": [("sample", Sample(max_tokens=LENGTH))], "sources": sources, "updates": 1, **changes}
    return Loop(
        policy=policy,
        prompts=Prompts(rows, seed=seed),
        credit=credit,
        optimiser=optimiser,
        whose={},
        seed=seed,
        batch=3,
        group=8,
        **options,
    )


def measured(loop: Loop) -> float:
    """Mean gold of 60 fresh answers to each prompt, drawn from seeds that training never used."""
    sampler = loop.policy.sampler(seed=1000 + loop.seed, step=0, group=60)
    rollouts = sampler.sample(loop.prompts.prompts, rl.Sampling(max_tokens=LENGTH))
    return sum(golds(rollouts)) / len(rollouts)


def gained(loop: Loop, steps: int) -> float:
    """How much gold rises in so many steps."""
    before = measured(loop)
    assert before < 0.25
    for _ in range(steps):
        advance(loop)
    return measured(loop) - before


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", ONLINE)
def test_gold_rises_with_feedback_on_its_own_answers(case: str, seed: int) -> None:
    optimiser, credit = ONLINE[case]
    assert gained(loop_of(FakePolicy(seed=seed), optimiser(), credit, seed), 35) > 0.4


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("optimiser", [Reinforce, Grpo, Ppo])
def test_gold_rises_when_rollouts_are_shared_among_several_updates(optimiser, seed: int) -> None:
    credit = Gae() if optimiser is Ppo else Group()
    loop = loop_of(FakePolicy(seed=seed), optimiser(kl=0.01, adam=ADAM), credit, seed, updates=3)
    assert gained(loop, 90) > 0.4


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("loss", "beta"), [("sigmoid", 0.1), ("ipo", 0.03)])
def test_gold_rises_with_recorded_answers(loss: str, beta: float, seed: int) -> None:
    optimiser = Dpo(beta=beta, loss=loss, pairs="all", adam=ADAM)
    actions = [("replay", Replay())]
    sources = {"recorded": Source(Recorded())}
    loop = loop_of(FakePolicy(seed=seed), optimiser, Group(), seed, actions=actions, sources=sources)
    assert gained(loop, 30) > 0.3
    assert advance(loop)[1]["accuracy"] > 0.9


@pytest.mark.parametrize("case", ONLINE)
def test_without_reward_nothing_moves(case: str) -> None:
    optimiser, credit = ONLINE[case]
    policy = FakePolicy(seed=1)
    before = [p.detach().clone() for p in policy.module.parameters()]
    loop = loop_of(policy, optimiser(), credit, 1)
    loop.sources = {**loop.sources, "gold": Source(Gold(scale=0.0))}
    for _ in range(3):
        advance(loop)
    assert all(torch.equal(p, b) for p, b in zip(policy.module.parameters(), before, strict=True))


@pytest.mark.parametrize("case", ["reinforce, leave_one_out", "grpo, group", "ppo, gae", "dpo on its own answers"])
def test_the_opposite_reward_drives_gold_out(case: str) -> None:
    optimiser, credit = ONLINE[case]
    loop = loop_of(FakePolicy(seed=1), optimiser(), credit, 1)
    loop.sources = {**loop.sources, "gold": Source(Gold(scale=-1.0))}
    assert gained(loop, 35) < 0
    assert measured(loop) < 0.02


@pytest.mark.parametrize("case", ["reinforce, leave_one_out", "grpo, group", "ppo, gae"])
def test_a_heavy_kl_holds_the_policy_where_it_was(case: str) -> None:
    kind, credit = type(ONLINE[case][0]()), ONLINE[case][1]
    gains = {}
    for kl in (0.01, 3.0):
        loop = loop_of(FakePolicy(seed=2), kind(kl=kl, adam=ADAM), credit, 2)
        gains[kl] = gained(loop, 35)
    assert gains[3.0] < 0.2 < 0.5 < gains[0.01]
