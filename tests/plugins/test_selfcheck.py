"""Every check holds here, and every one fails when the trap that it is about is planted."""

from __future__ import annotations

import random
import secrets
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

import rlaif_kernels as rk
from rlaif_builtins.optimisers.dpo import Dpo
from rlaif_builtins.optimisers.reference import KlPenalty
from rlaif_builtins.optimisers.update import Update
from rlaif_builtins.selfcheck import every, perform
from rlaif_builtins.selfcheck.registry import Check
from rlaif_core import sampling
from rlaif_core.causal import CausalModel
from rlaif_core.cli import application
from rlaif_core.feedback import Score
from rlaif_core.plugins import Plugins
from rlaif_core.policy import TransformersPolicy
from rlaif_judges.asking import Reply
from rlaif_judges.forms import ballots

NUMBERS = (1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18, 20, 21, 23, 24, 25, 28, 29, 30)
CHECKS = {entry.number: entry for entry in every()}


def test_the_traps_that_apply_are_all_there():
    assert tuple(CHECKS) == NUMBERS
    assert len(every()) == len(NUMBERS)


@pytest.mark.parametrize("number", NUMBERS)
def test_holds(number):
    outcome = perform(CHECKS[number])
    assert outcome.held, outcome.said


real_logprobs, real_trimmed, real_gae = rk.token_logprobs, sampling._trimmed, rk.gae
real_model, real_forward = CausalModel.__init__, TransformersPolicy.forward
real_reference = TransformersPolicy.keep_reference
real_apply, real_learn, real_score, real_loss = Update.apply, Dpo._learn, KlPenalty.score, rk.policy_loss
real_linear, real_ballots = rk.linear_logprobs, ballots


def rolled(states, weight, targets, **how):
    return real_linear(states, weight, targets.roll(1), **how)


def whole(states, weight, targets, kept, **how):
    return real_linear(states, weight, targets, **how)


def of_warm(states, weight, targets, *, temperature=1.0, **how):
    return real_linear(states, weight, targets, **how)


def towards_the_reference(*args, kl=0.0, **how):
    return real_loss(*args, kl=-kl, **how)


def without_end(tokens, logps, supports, lengths, stopped):
    return real_trimmed(tokens, logps, supports, (lengths - stopped.long()).clamp(min=1), stopped)


def ended_if_short(tokens, logps, supports, lengths, stopped):
    return real_trimmed(tokens, logps, supports, lengths, lengths < tokens.shape[1])


def without_positions(self, module):
    real_model(self, module)
    self._takes -= {"position_ids"}


def in_bfloat16(logits, targets, **how):
    said = logits.log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return said.where(targets >= 0, 0)


def zero_where_missing(self, group, channel="reward", *, contributed=True):
    said = zip(*(self.outcomes[name] for name in self.sources(channel)), strict=True)
    values = torch.tensor([sum(o.value for o in row if isinstance(o, Score)) for row in said])
    return values, torch.ones(len(group), dtype=torch.bool)


def dropout_in_training(self, rollouts, **how):
    self.module.train("entropy" in how)
    return real_forward(self, rollouts, **how)


def noise_in_training(self, rollouts, **how):
    forward = real_forward(self, rollouts, **how)
    noise = 1e-3 * torch.randn_like(forward.logp) if "entropy" in how else 0.0
    return replace(forward, logp=(forward.logp + noise).where(rollouts.mask, 0.0))


def the_other_way(self, rollouts):
    said = real_score(self, rollouts)
    return replace(said, outcomes=[replace(one, value=-one.value) for one in said.outcomes], tokens=-said.tokens)


def normalised_in_parts(count):
    """The mean over micro-batches of their own means: what comes of a denominator that is taken from each."""

    def apply(self, policy, experience, loss_of, microbatch=None):
        rows = len(experience.rollouts)
        parts = -(-rows // (microbatch or self.adam.microbatch or rows))

        def mean_of(part, its):
            loss, metrics = loss_of(part, its)
            return loss * count(experience.mask) / count(part.mask).clamp(min=1) / parts, metrics

        return real_apply(self, policy, experience, mean_of, microbatch)

    return apply


def means_for_sums(self, *args):
    self.per_token = True
    return real_learn(self, *args)


def in_one_order(question, style):
    return real_ballots(question, replace(style, orders=1))


def sure_of_the_first(self, options, logp, tokens):
    shares = (1.0, *[0.0] * (len(options) - 1))
    return lambda seconds: Reply(text=options[0], probabilities=shares, seconds=seconds)


def adapters_off(self):
    real_reference(self)
    if self._adapters == "trained":
        self._reference = "adapters off"


PLANTED = {
    1: ("rlaif_kernels.linear_logprobs", rolled),
    2: ("rlaif_core.sampling._trimmed", without_end),
    3: ("rlaif_core.sampling._trimmed", without_end),
    4: ("rlaif_builtins.credits.answers.last_chosen", lambda mask: mask & (mask.long().cumsum(1) == 1)),
    5: ("rlaif_core.sampling._trimmed", ended_if_short),
    6: ("rlaif_kernels.gae", lambda *args, next_values=None, **how: real_gae(*args, **how)),
    8: ("rlaif_core.causal.CausalModel.__init__", without_positions),
    9: ("rlaif_kernels.linear_logprobs", of_warm),
    10: ("rlaif_kernels.kept_logprobs", whole),
    12: ("rlaif_core.policy.TransformersPolicy.logprobs", lambda self, r: self.module.train() and self.forward(r).logp),
    13: ("rlaif_kernels.kl_estimate", lambda logp, reference, **how: logp - reference),
    14: ("rlaif_kernels.masked_whiten", lambda x, mask, **how: (x - x.mean()) / x.std()),
    15: ("rlaif_builtins.selfcheck.losses.weights", lambda mask, mode, length=None: mask / mask.sum(1, keepdim=True)),
    16: ("rlaif_core.feedback.Feedback.totals", lambda self, group, *a, **k: (torch.rand(len(group)), group == group)),
    17: ("rlaif_builtins.credits.answers.siblings", lambda rollouts: torch.arange(len(rollouts)) // 3),
    18: ("rlaif_core.feedback.Feedback.totals", zero_where_missing),
    20: ("rlaif_core.policy.copy.deepcopy", lambda module, memo=None: module),
    21: ("rlaif_rewards.checkpoint.Checkpoint._padding", lambda self, last: 5),
    23: ("rlaif_core.rollout.seeds_of", lambda seed, step, ids, group: [random.getrandbits(60) for _ in ids * group]),
    24: ("rlaif_core.prompts.Prompts.load_state_dict", lambda self, state: None),
    25: ("rlaif_builtins.selfcheck.losses.pair_loss", lambda margin, beta, smoothing, kind: margin.square() + 0.5),
    28: ("rlaif_kernels.token_logprobs", in_bfloat16),
    29: ("rlaif_judges.language.ballots", in_one_order),
    30: ("rlaif_core.plugins.checked", lambda build, given, where, objects=(): dict(given)),
}

# Traps that lie in whole optimisers and in trained adapters, where the parts that they are made of are right.
DEEPER = [
    (12, "rlaif_core.policy.TransformersPolicy.forward", dropout_in_training),
    (12, "rlaif_core.policy.TransformersPolicy.forward", noise_in_training),
    (13, "rlaif_builtins.optimisers.reference.KlPenalty.score", the_other_way),
    (13, "rlaif_builtins.optimisers.reinforce.Reinforce.weights", lambda self: {"kl": -self.kl}),
    (13, "rlaif_builtins.optimisers.ppo.Ppo.weights", lambda self: {"kl": -self.kl}),
    (13, "rlaif_kernels.policy_loss", towards_the_reference),
    (15, "rlaif_builtins.optimisers.update.Update.apply", normalised_in_parts(lambda mask: mask.sum())),
    (15, "rlaif_builtins.optimisers.update.Update.apply", normalised_in_parts(lambda mask: mask.any(1).sum())),
    (20, "rlaif_core.policy.TransformersPolicy.keep_reference", adapters_off),
    (25, "rlaif_builtins.optimisers.dpo.Dpo._learn", means_for_sums),
    (29, "rlaif_judges.tally._compared", lambda values, *_: [values[0], 0.0]),
    (29, "rlaif_judges.asking.Request.key", lambda self, identity: secrets.token_hex(16)),
    (29, "rlaif_judges.economy.budget.Economy.exhausted", lambda self, spent, under_way: ""),
    (29, "rlaif_judges.backends.local.Local._choice", sure_of_the_first),
]


@pytest.mark.parametrize(("number", "target", "wrong"), [*((n, *PLANTED[n]) for n in NUMBERS), *DEEPER])
def test_fails_when_its_trap_is_planted(number, target, wrong, monkeypatch):
    from rlaif_builtins.selfcheck import models

    models.policy.cache_clear()
    monkeypatch.setattr(target, wrong)
    for module in (
        "rlaif_builtins.credits.gae",
        "rlaif_builtins.credits.group",
        "rlaif_builtins.credits.leave_one_out",
    ):
        name = target.rpartition(".")[2]
        monkeypatch.setattr(f"{module}.{name}", wrong, raising=False)
    outcome = perform(CHECKS[number])
    models.policy.cache_clear()
    assert not outcome.held, f"the check did not notice: {outcome.said}"


def test_the_verb_prints_what_held_and_fails_if_anything_does_not(monkeypatch):
    app, runner = application(Plugins.load()), CliRunner()
    said = runner.invoke(app, ["selfcheck", "--only", "15", "--only", "25"])
    assert said.exit_code == 0, said.output
    assert "2 of 2 held" in said.output
    monkeypatch.setitem(CHECKS, 15, Check(15, "broken", lambda: 1 / 0))  # type: ignore[return-value]
    monkeypatch.setattr("rlaif_builtins.selfcheck.every", lambda: list(CHECKS.values()))
    said = runner.invoke(app, ["selfcheck", "--only", "15", "--json"])
    assert said.exit_code == 1
    assert "ZeroDivisionError" in said.output
