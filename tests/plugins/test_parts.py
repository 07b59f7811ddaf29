from __future__ import annotations

import pytest
import torch

from rlaif_builtins.optimisers.parts import averaged, detached, slices, taken, without_gradients
from rlaif_core.testing import FakePolicy, make_experience, make_rollouts

ROLLOUTS = make_rollouts([("yes please", "no"), ("red and green", "maybe"), "it is blue"])


@pytest.mark.parametrize("size", [None, 1, 2, 3, 5, 9])
def test_slices_cover_every_row_once_and_in_order(size: int | None) -> None:
    rows = [row for part in slices(5, size) for row in range(5)[part]]
    assert rows == [0, 1, 2, 3, 4]
    assert max(part.stop - part.start for part in slices(5, size)) == min(size or 5, 5)


def test_all_rows_are_the_batch_itself_and_fewer_are_a_copy() -> None:
    experience = make_experience(ROLLOUTS)
    assert taken(ROLLOUTS, slice(0, 5)) is ROLLOUTS
    assert taken(experience, slice(0, 5)) is experience
    assert taken(ROLLOUTS, slice(1, 3)).completions == ROLLOUTS.completions[1:3]
    assert taken(experience, slice(1, 3)).rollouts.completions == ROLLOUTS.completions[1:3]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_what_is_asked_in_parts_is_what_is_asked_at_once(size: int) -> None:
    policy = FakePolicy()
    policy.keep_reference()

    def ask(rollouts):
        forward = policy.forward(rollouts, hidden=True)
        return forward.logp, forward.last

    for whole, cut in zip(ask(ROLLOUTS), without_gradients(ask, ROLLOUTS, size), strict=True):
        torch.testing.assert_close(cut, whole)
        assert whole.requires_grad
        assert not cut.requires_grad
    torch.testing.assert_close(detached(policy.reference_logprobs, ROLLOUTS, size), policy.reference_logprobs(ROLLOUTS))


def test_no_more_rows_are_asked_about_at_once_than_the_size_says() -> None:
    asked = []
    policy = FakePolicy()
    policy.keep_reference()
    inner = policy.reference_logprobs
    policy.reference_logprobs = lambda rollouts: asked.append(len(rollouts)) or inner(rollouts)
    detached(policy.reference_logprobs, ROLLOUTS, 2)
    assert asked == [2, 2, 1]


def test_metrics_are_averaged_by_name() -> None:
    assert averaged([{"loss": 1.0, "kl": 4.0}, {"loss": 2.0, "kl": 0.0}]) == {"loss": 1.5, "kl": 2.0}
