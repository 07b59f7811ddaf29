from __future__ import annotations

import copy
import inspect
import math

import pytest
import torch

from rlaif_builtins.optimisers.update import PROBES, Adam, Update
from rlaif_core import ConfigError, TrainingError
from rlaif_core.testing import FakePolicy, make_experience, make_rollouts

EXPERIENCE = make_experience(make_rollouts([("yes please", "no"), ("red and green", "maybe it is blue")]))


def likelihood(policy: FakePolicy, scale: float = 1.0):
    """A loss that lowers the log-prob of every token, and one metric."""

    def loss_of(part, rows):
        logp = policy.logprobs(part.rollouts)
        return scale * logp.sum(), {"tokens": part.mask.sum().float()}

    return loss_of


def prepared(policy: FakePolicy, steps: int = 10, **options: object) -> Update:
    update = Update(Adam(**{"lr": 0.1, **options}))
    update.prepare(policy, steps)
    return update


def weights(policy: FakePolicy) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in policy.module.named_parameters()}


def moved(policy: FakePolicy, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, p in policy.module.named_parameters() if not torch.equal(p, before[name])}


def test_an_update_moves_the_weights_once_and_says_so() -> None:
    policy = FakePolicy()
    update, before = prepared(policy), weights(policy)
    metrics = update.apply(policy, EXPERIENCE, likelihood(policy))
    assert moved(policy, before) == set(before)
    assert policy.version == 1
    assert set(metrics) == {"loss", "tokens", "grad_norm"}
    assert metrics["tokens"] == EXPERIENCE.mask.sum()
    assert all(p.grad is None for p in policy.module.parameters())


@pytest.mark.parametrize("microbatch", [1, 2, 3, 4, 7])
def test_microbatches_change_neither_the_update_nor_the_metrics(microbatch: int) -> None:
    policies = [FakePolicy(), FakePolicy()]
    found = []
    for policy, size in zip(policies, (None, microbatch), strict=True):
        policy.module.double()
        found.append(prepared(policy, microbatch=size).apply(policy, EXPERIENCE, likelihood(policy)))
    assert found[0] == pytest.approx(found[1], rel=1e-12)
    for one, other in zip(policies[0].module.parameters(), policies[1].module.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)  # AdamW divides by the gradient's size


def test_a_microbatch_is_at_most_as_large_as_asked() -> None:
    policy, seen = FakePolicy(), []
    inner = likelihood(policy)
    prepared(policy, microbatch=3).apply(
        policy, EXPERIENCE, lambda part, rows: seen.append((len(part.rollouts), rows)) or inner(part, rows)
    )
    assert seen == [(3, slice(0, 3)), (1, slice(3, 4))]


def test_an_interrupt_behind_the_move_finds_it_counted() -> None:
    policy = FakePolicy()
    update, before = prepared(policy), weights(policy)
    inner = update._torch.step

    def interrupted() -> None:
        inner()
        raise KeyboardInterrupt

    update._torch.step = interrupted
    with pytest.raises(KeyboardInterrupt):
        update.apply(policy, EXPERIENCE, likelihood(policy))
    assert moved(policy, before) == set(before)
    assert policy.version == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_raises_before_anything_moves(value: float) -> None:
    policy = FakePolicy()
    update, before = prepared(policy, microbatch=2), weights(policy)
    state = update.state_dict()

    def second_part_is_broken(part, rows):
        logp = policy.logprobs(part.rollouts)
        return logp.sum() + (value if rows.start else 0.0), {}

    with pytest.raises(TrainingError, match=rf"the loss is {value}; the weights are left as they were"):
        update.apply(policy, EXPERIENCE, second_part_is_broken)
    assert not moved(policy, before)
    assert policy.version == 0
    assert not state["torch"]["state"]
    assert all(p.grad is None for p in policy.module.parameters())


def test_a_gradient_that_is_not_finite_raises_before_anything_moves() -> None:
    policy = FakePolicy()
    update, before = prepared(policy), weights(policy)

    def infinitely_steep(part, rows):
        logp = policy.logprobs(part.rollouts)
        return (logp - logp.detach()).abs().sqrt().sum() + logp.sum(), {}

    with pytest.raises(TrainingError, match="the gradient's norm is nan; the weights are left as they were"):
        update.apply(policy, EXPERIENCE, infinitely_steep)
    assert not moved(policy, before)
    assert policy.version == 0
    update.apply(policy, EXPERIENCE, likelihood(policy))
    assert moved(policy, before) == set(before)


def test_a_metric_that_is_not_finite_is_named_before_anything_moves() -> None:
    policy = FakePolicy()
    update, before = prepared(policy), weights(policy)
    with pytest.raises(TrainingError, match="the entropy is nan"):
        update.apply(
            policy,
            EXPERIENCE,
            lambda part, rows: (policy.logprobs(part.rollouts).sum(), {"entropy": torch.tensor(math.nan)}),
        )
    assert not moved(policy, before)


def test_a_frozen_policy_is_refused() -> None:
    policy = FakePolicy()
    policy.module.requires_grad_(False)
    with pytest.raises(TrainingError, match="no trainable parameter: everything is frozen"):
        prepared(policy)


def test_a_loss_that_does_not_depend_on_the_policy_is_refused() -> None:
    policy = FakePolicy()
    head = torch.nn.Parameter(torch.ones(()))
    update = Update(Adam(lr=0.1))
    update.prepare(policy, 10, [head])
    for loss in (lambda: torch.tensor(1.0), lambda: head * 2):
        with pytest.raises(TrainingError, match="does not depend on the policy's trainable parameters"):
            update.apply(policy, EXPERIENCE, lambda part, rows, loss=loss: (loss(), {}))
    assert policy.version == 0


def test_frozen_parameters_stay_and_extra_ones_move() -> None:
    policy = FakePolicy()
    policy.module.embedding.requires_grad_(False)
    head = torch.nn.Parameter(torch.ones(()))
    update, before = Update(Adam(lr=0.1)), weights(policy)
    update.prepare(policy, 10, [head])
    update.apply(policy, EXPERIENCE, lambda part, rows: (head * policy.logprobs(part.rollouts).sum(), {}))
    assert moved(policy, before) == set(before) - {"embedding.weight"}
    assert head.item() != 1


@pytest.mark.parametrize("warmup", [0, 3])
def test_weights_that_rounding_keeps_in_place_are_noticed(warmup: int) -> None:
    policy = FakePolicy()
    for parameter in policy.module.parameters():
        torch.nn.init.constant_(parameter, 1.0)
    torch.nn.init.normal_(policy.module.embedding.weight, 1.0, 0.1)
    update = prepared(policy, lr=1e-9, warmup=warmup)
    before = weights(policy)

    def go() -> None:
        with update.step():
            update.apply(policy, EXPERIENCE, likelihood(policy))

    for _ in range(warmup + PROBES - 1):
        go()
    with pytest.raises(
        TrainingError, match=r"last 10 updates left 100.0% of the weights .* rounding to float32; raise lr"
    ):
        go()
    assert not moved(policy, before)


def test_an_update_of_the_value_head_alone_says_nothing_about_the_policys_rounding() -> None:
    policy, head = FakePolicy(), torch.nn.Parameter(torch.ones(()))
    for parameter in policy.module.parameters():
        torch.nn.init.constant_(parameter, 1.0)
    torch.nn.init.normal_(policy.module.embedding.weight, 1.0, 0.1)
    update = Update(Adam(lr=1e-9))
    update.prepare(policy, 10, [head])
    update.apply(policy, EXPERIENCE, lambda part, rows: (head + 0 * policy.logprobs(part.rollouts).sum(), {}))
    for _ in range(PROBES - 1):
        update.apply(policy, EXPERIENCE, likelihood(policy))
    with pytest.raises(TrainingError, match=r"last 10 updates left 100.0% of the weights"):
        update.apply(policy, EXPERIENCE, likelihood(policy))


def test_weights_that_move_are_not_looked_at_again() -> None:
    policy = FakePolicy()
    update = prepared(policy, lr=0.1)
    for _ in range(PROBES + 2):
        with update.step():
            update.apply(policy, EXPERIENCE, likelihood(policy))
    update._torch.step = lambda: None
    for _ in range(PROBES + 2):
        with update.step():
            update.apply(policy, EXPERIENCE, likelihood(policy))


@pytest.mark.parametrize("lr", [0.0, 0.1])
def test_no_learning_rate_or_no_gradient_is_no_fault_of_rounding(lr: float) -> None:
    policy = FakePolicy()
    update, before = prepared(policy, lr=lr), weights(policy)
    for _ in range(PROBES + 2):
        with update.step():
            update.apply(policy, EXPERIENCE, likelihood(policy, scale=1.0 if lr == 0 else 0.0))
    assert not moved(policy, before)


def test_the_gradient_is_clipped_to_the_norm_and_reported_before() -> None:
    policies = [FakePolicy(), FakePolicy()]
    norms = []
    for policy, clip in zip(policies, (0.5, 0.0), strict=True):
        update = prepared(policy, clip=clip)
        seen = []
        update._torch.step = lambda update=update, seen=seen: seen.extend(p.grad.clone() for p in update._parameters)
        norms.append(update.apply(policy, EXPERIENCE, likelihood(policy))["grad_norm"])
        policy.grads = seen
    assert norms[0] == norms[1] > 1
    for clipped, full in zip(policies[0].grads, policies[1].grads, strict=True):
        torch.testing.assert_close(clipped, full * 0.5 / norms[0])
    assert torch.cat([grad.flatten() for grad in policies[0].grads]).norm().item() == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0, [1, 1, 1, 1, 1, 1, 1]),
        ("constant", 4, [1 / 4, 2 / 4, 3 / 4, 1, 1, 1, 1]),
        ("linear", 0, [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0]),
        ("linear", 2, [1 / 2, 1, 1, 3 / 4, 2 / 4, 1 / 4, 0]),
        ("cosine", 2, [1 / 2, 1, 1, (1 + math.sqrt(0.5)) / 2, 1 / 2, (1 - math.sqrt(0.5)) / 2, 0]),
    ],
)
def test_learning_rates_of_six_steps_and_one_more(schedule: str, warmup: int, expected: list[float]) -> None:
    policy = FakePolicy()
    update = prepared(policy, steps=6, lr=2.0, schedule=schedule, warmup=warmup)
    rates = []
    for _ in range(7):
        with update.step() as rate:
            rates.append(rate)
            assert update._torch.param_groups[0]["lr"] == rate
    assert rates == pytest.approx([2 * factor for factor in expected], abs=1e-12)


def test_a_step_that_fails_does_not_advance_the_schedule() -> None:
    policy = FakePolicy()
    update = prepared(policy, steps=4, schedule="linear")
    with update.step() as first:
        pass
    for _ in range(2):
        with pytest.raises(TrainingError), update.step() as second:
            raise TrainingError("an outage")
    with update.step() as again:
        pass
    assert (first, second, again) == pytest.approx((0.1, 0.075, 0.075))


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_state_goes_on_to_the_last_bit(schedule: str) -> None:
    options = {"schedule": schedule, "warmup": 2, "weight_decay": 0.1}
    policy = FakePolicy()
    update = prepared(policy, **options)

    def go(its_policy: FakePolicy, its: Update) -> None:
        for _ in range(3):
            with its.step():
                its.apply(its_policy, EXPERIENCE, likelihood(its_policy))

    go(policy, update)
    resumed_policy = FakePolicy()
    resumed = prepared(resumed_policy, **options)
    resumed_policy.load_state_dict(policy.state_dict())
    resumed.load_state_dict(copy.deepcopy(update.state_dict()))
    go(policy, update)
    go(resumed_policy, resumed)
    assert not moved(resumed_policy, weights(policy))
    assert resumed.state_dict()["done"] == update.state_dict()["done"] == 6
    assert resumed.state_dict()["still"] == update.state_dict()["still"]


def test_a_changed_config_holds_after_loading() -> None:
    policy, changed = FakePolicy(), {"lr": 0.5, "betas": (0.5, 0.6), "weight_decay": 0.3}
    state = copy.deepcopy(prepared(policy).state_dict())
    update = prepared(policy, **changed)
    update.load_state_dict(state)
    (group,) = update._torch.param_groups
    assert {name: group[name] for name in changed} == changed


@pytest.mark.parametrize("options", [{"lr": 1e38}, {"weight_decay": 1e38}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_update_that_destroys_the_weights_is_noticed(options: dict[str, float], dtype: torch.dtype) -> None:
    policy = FakePolicy()
    policy.module.to(dtype)
    update = prepared(policy, **options)
    with pytest.raises(TrainingError, match=r"made the weights NaN or infinite, with lr = .* --set optimiser\.lr"):
        update.apply(policy, EXPERIENCE, likelihood(policy))
    assert policy.version == 1  # so that nobody saves them


def test_adamw_runs_fused() -> None:
    assert "fused" in inspect.signature(torch.optim.AdamW).parameters
    assert prepared(FakePolicy())._torch.param_groups[0]["fused"] is True


def test_fused_adamw_moves_as_the_paper_says() -> None:
    policy = FakePolicy()
    update, before = prepared(policy, lr=0.01, weight_decay=0.1, betas=(0.8, 0.9), clip=0), weights(policy)
    first = {name: torch.zeros_like(p) for name, p in before.items()}
    second = {name: torch.zeros_like(p) for name, p in before.items()}
    inner = update._torch.step

    def by_hand() -> None:
        time = int(update._torch.state[update._parameters[0]].get("step", 0)) + 1
        for name, p in policy.module.named_parameters():
            first[name] = 0.8 * first[name] + 0.2 * p.grad
            second[name] = 0.9 * second[name] + 0.1 * p.grad**2
            slope = first[name] / (1 - 0.8**time) / ((second[name] / (1 - 0.9**time)).sqrt() + 1e-8)
            before[name] = before[name] * (1 - 0.01 * 0.1) - 0.01 * slope
        inner()

    update._torch.step = by_hand
    for _ in range(3):
        update.apply(policy, EXPERIENCE, likelihood(policy))
    for name, p in policy.module.named_parameters():
        torch.testing.assert_close(p, before[name], atol=2e-6, rtol=1e-5)


def focused(focus: dict[str, float], policy: FakePolicy, steps: int = 1, **options: object) -> None:
    update = prepared(policy, **options)
    rollouts, feedback = EXPERIENCE.rollouts, EXPERIENCE.feedback
    for step in range(steps):
        its = focus if step == steps - 1 else {}
        experience = type(EXPERIENCE)(rollouts=rollouts, feedback=feedback, advantages=EXPERIENCE.advantages, focus=its)
        update.apply(policy, experience, likelihood(policy))


def test_focus_scales_the_moves_of_its_modules_and_stills_the_others() -> None:
    plain, scaled = FakePolicy(), FakePolicy()
    before = weights(plain)
    focused({}, plain, clip=0)
    focused({"embedding": 1.0, "head": 0.25}, scaled, clip=0, weight_decay=0.0)
    assert moved(scaled, before) == {"embedding.weight", "head.weight", "head.bias"}
    full, part = weights(plain), weights(scaled)
    assert torch.equal(part["embedding.weight"], full["embedding.weight"])
    for name in ("head.weight", "head.bias"):
        torch.testing.assert_close(part[name] - before[name], (full[name] - before[name]) / 4, atol=1e-7, rtol=1e-5)


def test_modules_out_of_focus_stand_still_whatever_momentum_they_have() -> None:
    policy = FakePolicy()
    focused({}, policy, steps=1)
    before = weights(policy)
    focused({"head.bias": 2.0}, policy, steps=1, weight_decay=0.5)
    assert moved(policy, before) == {"head.bias"}
    policy = FakePolicy()
    update = prepared(policy, weight_decay=0.5)
    update.apply(policy, EXPERIENCE, likelihood(policy))
    before = weights(policy)
    narrowed = type(EXPERIENCE)(
        rollouts=EXPERIENCE.rollouts, feedback=EXPERIENCE.feedback, advantages={}, focus={"head": 1.0}
    )
    update.apply(policy, narrowed, likelihood(policy))
    assert moved(policy, before) == {"head.weight", "head.bias"}


def test_the_innermost_module_counts() -> None:
    policy = FakePolicy()
    before = weights(policy)
    focused({"head": 0.0, "head.bias": 1.0}, policy)
    assert moved(policy, before) == {"head.bias"}


@pytest.mark.parametrize("module", ["layers.3", "embed", "weight"])
def test_a_focus_on_what_is_no_module_is_refused(module: str) -> None:
    complaint = rf"focus names '{module}', but no trainable parameter lies in such a module"
    with pytest.raises(TrainingError, match=complaint):
        focused({module: 1.0, "head": 1.0}, FakePolicy())


def test_a_focus_on_nothing_is_refused() -> None:
    with pytest.raises(TrainingError, match="none got a gradient"):
        focused({"head": 0.0}, FakePolicy())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("lr", -1e-3),
        ("lr", math.nan),
        ("lr", math.inf),
        ("weight_decay", -0.1),
        ("weight_decay", math.inf),
        ("betas", (0.9, 1.0)),
        ("clip", -1.0),
        ("clip", math.inf),
        ("warmup", -1),
        ("microbatch", 0),
    ],
)
def test_options_that_make_no_sense_are_refused(option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"optimiser: {option} (is|are) .*, but must be"):
        Adam(**{"lr": 0.1, option: value})
