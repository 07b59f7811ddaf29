from __future__ import annotations

import math

import pytest
import torch

from rlaif_builtins.optimisers.grpo import Grpo
from rlaif_builtins.optimisers.ppo import Ppo
from rlaif_builtins.optimisers.update import PROBES, Adam, Update
from rlaif_core import TrainingError
from rlaif_core.testing import FakePolicy, check_optimiser, make_experience, make_rollouts

EXPERIENCE = make_experience(make_rollouts([("yes please", "no"), ("red and green", "maybe it is blue")]))


def half() -> FakePolicy:
    policy = FakePolicy()
    policy.module.bfloat16()
    return policy


def ones() -> FakePolicy:
    policy = half()
    for parameter in policy.module.parameters():
        torch.nn.init.ones_(parameter)
    return policy


def slope(policy: FakePolicy, *by_row: float):
    """A loss whose gradient is, for every weight, the sum of what is given for the rows."""

    def loss_of(part, rows):
        return sum(by_row[rows]) * sum(p.float().sum() for p in policy.module.parameters()), {}

    return loss_of


def prepared(policy: FakePolicy, **options: object) -> Update:
    update = Update(Adam(**{"lr": 0.1, "clip": 0.0, **options}))
    update.prepare(policy, 10)
    return update


def is_rounding(policy: FakePolicy, update: Update) -> bool:
    pairs = zip(policy.module.parameters(), update.state_dict()["masters"], strict=True)
    return all(torch.equal(p, master.bfloat16()) and not torch.equal(p.float(), master) for p, master in pairs)


def test_moves_too_small_for_bfloat16_add_up() -> None:
    policy = ones()
    update = prepared(policy, lr=1e-4)
    for _ in range(100):
        with update.step():
            update.apply(policy, EXPERIENCE, slope(policy, 1.0, 0.0, 0.0, 0.0))
    assert is_rounding(policy, update)
    for master in update.state_dict()["masters"]:
        torch.testing.assert_close(master, torch.full_like(master, 0.99))


def test_the_second_moment_decays() -> None:
    policy = ones()
    update = prepared(policy)
    for size in [1.0] + [1e-3] * 100:
        update.apply(policy, EXPERIENCE, slope(policy, size, 0.0, 0.0, 0.0))
    for state in update.state_dict()["torch"]["state"].values():
        expected = torch.full_like(state["exp_avg_sq"], 1e-3 * 0.999**100)
        torch.testing.assert_close(state["exp_avg_sq"], expected, rtol=1e-3, atol=0, check_dtype=True)
        assert state["exp_avg_sq"].dtype == torch.float32


def test_gradients_of_microbatches_are_summed_in_float32() -> None:
    policy, seen = ones(), []
    update = prepared(policy, microbatch=1)
    update._torch.step = lambda: seen.extend(p.grad.clone() for p in update._parameters)
    update.apply(policy, EXPERIENCE, slope(policy, 256.0, 0.5, 0.5, 0.5))
    assert all(torch.equal(grad, torch.full_like(grad, 257.5)) for grad in seen)


@pytest.mark.parametrize("build", [Grpo, Ppo])
def test_state_goes_on_to_the_last_bit(build: type[Grpo | Ppo]) -> None:
    check_optimiser(lambda: build(adam=Adam(lr=1e-3, microbatch=3)), policy=half)


def test_a_checkpoint_without_masters_goes_on_from_the_parameters() -> None:
    policy = half()
    update = prepared(policy)
    state = {name: value for name, value in update.state_dict().items() if name != "masters"}
    update.apply(policy, EXPERIENCE, slope(policy, 1.0, 1.0, 1.0, 1.0))
    update.load_state_dict(state)
    for parameter, master in zip(policy.module.parameters(), update.state_dict()["masters"], strict=True):
        assert torch.equal(parameter.float(), master)


def test_float32_has_none() -> None:
    policy = FakePolicy()
    update = prepared(policy)
    assert update.state_dict()["masters"] == []
    assert all(a is b for a, b in zip(update._parameters, policy.module.parameters(), strict=True))


def test_focus_scales_the_moves_of_the_masters() -> None:
    policy = ones()
    update = prepared(policy, weight_decay=0.5)
    focused = type(EXPERIENCE)(
        rollouts=EXPERIENCE.rollouts, feedback=EXPERIENCE.feedback, advantages={}, focus={"head": 1 / 64}
    )
    update.apply(policy, focused, slope(policy, 1.0, 1.0, 1.0, 1.0))
    masters = dict(zip(dict(policy.module.named_parameters()), update.state_dict()["masters"], strict=True))
    for name, master in masters.items():
        moved = (0.1 + 0.1 * 0.5) / 64 if name.startswith("head") else 0.0
        torch.testing.assert_close(1 - master, torch.full_like(master, moved), rtol=1e-4, atol=1e-8)


def test_moves_that_the_masters_hold_are_not_lost_in_rounding() -> None:
    policy = ones()
    update = prepared(policy, lr=1e-5)
    for _ in range(PROBES + 2):
        with update.step():
            update.apply(policy, EXPERIENCE, slope(policy, 1.0, 1.0, 1.0, 1.0))
    assert all(bool((p == 1).all()) for p in policy.module.parameters())


def test_a_failed_update_leaves_no_gradient_behind() -> None:
    policy = half()
    update = prepared(policy, microbatch=1)
    with pytest.raises(TrainingError, match="the loss is nan"):
        update.apply(policy, EXPERIENCE, slope(policy, 1.0, math.nan, 1.0, 1.0))
    assert all(p.grad is None for p in (*policy.module.parameters(), *update._parameters))


def test_float16_is_refused() -> None:
    policy = FakePolicy()
    policy.module.head.half()
    with pytest.raises(TrainingError, match=r"'head.weight' is float16, .* dtype = 'bfloat16', or 'float32'"):
        prepared(policy)
    policy.module.head.requires_grad_(False)
    prepared(policy)
