from __future__ import annotations

import pytest
import torch

import rlaif_core as rl
from rlaif_core.testing import check_judge, check_reward, make_rollouts
from rlaif_core.testing.contract import alike, per_token, through_a_checkpoint


def test_what_is_no_part_at_all_is_refused() -> None:
    class Good:
        def score(self, rollouts: rl.Rollouts) -> list[float]:
            return [0.0] * len(rollouts)

    with pytest.raises(rl.PluginError, match="Good is a class; give an instance of it"):
        check_reward(Good)  # type: ignore[arg-type]
    with pytest.raises(rl.PluginError, match=r"a Good has no method ask\(\)"):
        check_judge(Good())  # type: ignore[arg-type]


def test_values_for_tokens_have_one_shape_and_nothing_off_mask() -> None:
    rollouts = make_rollouts()
    per_token("it", rollouts.mask.float(), rollouts)
    with pytest.raises(rl.PluginError, match="it is not finite"):
        per_token("it", rollouts.mask.float() * torch.nan, rollouts)


def test_outcomes_are_alike_within_the_tolerance_and_by_kind() -> None:
    alike("they differ", [rl.Score(1.0), rl.Abstain("a")], [rl.Score(1.0 + 1e-7), rl.Abstain("b")], 1e-6)
    for other in (rl.Score(1.1), rl.Failed("outage")):
        with pytest.raises(rl.PluginError, match="they differ: answer 0 got Score"):
            alike("they differ", [rl.Score(1.0)], [other], 1e-6)


def test_state_comes_back_from_a_checkpoint_as_it_went() -> None:
    back = through_a_checkpoint({"tensor": torch.ones(2), "nested": {"list": [1, "two", None], "tuple": (3.5,)}})
    assert torch.equal(back["tensor"], torch.ones(2))
    assert back["nested"] == {"list": [1, "two", None], "tuple": (3.5,)}
