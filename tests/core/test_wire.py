from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import torch

import rlaif_core as rl
from rlaif_core import checkpoint, wire
from rlaif_core.testing import make_experience, make_feedback, make_rollouts
from rlaif_core.testing.compare import leaves, same


def unusual() -> rl.Experience:
    """No field as it would be by default."""
    messages = ({"role": "system", "content": "one"}, {"role": "user", "content": "yes or no"})
    prompt = rl.Prompt(id="chat", text="shown", messages=messages, meta={"answer": 4})
    plain = make_rollouts([("yes please", "no")], prompts=[prompt])
    rollouts = replace(
        plain,
        finish=("length", "stop"),
        decisions={"choice": torch.tensor([1, 0]), "choice/logp": torch.tensor([-0.5, -1.0])},
        policy_version=7,
        temperature=0.7,
        recorded=True,
        kept=plain.tokens[..., None].to(torch.int32),
    )
    said = rl.Scored(outcomes=[rl.Score(1.5, "why", 0.25), rl.Abstain("odd", 0.5)], tokens=plain.logp)
    feedback = make_feedback(
        rollouts,
        {"judge": said, "kl": [rl.Failed("down", 2.0), rl.Score(3)]},
        weights={"judge": 0.5, "kl": 0.1},
        channels={"judge": "cost:harm", "kl": "cost:kl"},
        contributed={"kl"},
    )
    experience = make_experience(plain)
    counted = torch.tensor([True, False])
    return replace(experience, rollouts=rollouts, feedback=feedback, focus={"head": 0.5}, counted=counted)


def test_experience_of_every_kind_survives_a_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    before = unusual()
    checkpoint.save(tmp_path, 1, wire.to_state(before), keep=1)
    after = wire.from_state(checkpoint.load(tmp_path)[1], "cpu", before.rollouts.prompts)
    one, other = dict(leaves(before, "")), dict(leaves(after, ""))
    assert one.keys() == other.keys()
    assert [name for name in one if not same(one[name], other[name])] == []
    assert after.feedback.contributed == before.feedback.contributed


def test_no_field_of_the_experience_that_travels_is_left_at_its_default() -> None:
    experience = unusual()
    for value in (experience, experience.rollouts, experience.rollouts.prompts[0], experience.feedback):
        for field in fields(value):
            held = getattr(value, field.name)
            assert isinstance(held, torch.Tensor) or held not in (field.default, None, (), {}, frozenset()), field.name
