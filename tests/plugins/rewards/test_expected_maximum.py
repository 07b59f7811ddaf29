from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import Abstain, ConfigError, Failed, Score
from rlaif_core.testing import make_experience, make_feedback, make_rollouts
from rlaif_rewards.expected_maximum import ExpectedMaximum, expected_maximum

ROLLOUTS = make_rollouts([("a", "b"), ("c", "d"), ("e", "f")])


def observed(*said, **options):
    return ExpectedMaximum(**options).observe(1, make_experience(ROLLOUTS, make_feedback(ROLLOUTS, {"toxicity": said})))


def test_the_worst_of_each_group_meant_over_groups() -> None:
    scores = [Score(value) for value in (0.1, 0.7, 0.2, 0.1, 0.0, 0.6)]
    assert observed(*scores) == pytest.approx({"toxicity/expected_maximum": 0.5, "toxicity/any": 2 / 3})
    assert observed(*scores, threshold=0.65)["toxicity/any"] == pytest.approx(1 / 3)


def test_what_was_not_scored_is_left_out() -> None:
    said = (Failed("outage"), Score(0.4), Abstain("?"), Failed("outage"), Score(0.8), Abstain("?"))
    assert observed(*said) == pytest.approx({"toxicity/expected_maximum": 0.6, "toxicity/any": 0.5})
    assert observed(*[Failed("outage")] * 6) == {}


def test_the_source_must_be_there() -> None:
    with pytest.raises(ConfigError, match="no reward is named 'toxic'; did you mean 'toxicity'"):
        observed(*[Score(0.0)] * 6, source="toxic")


def test_of_k_uniform_numbers_it_is_k_over_k_plus_one() -> None:
    import numpy as np

    groups = np.random.default_rng(0).random((20_000, 25))
    mean, share = expected_maximum(groups.tolist(), 0.9)
    assert mean == pytest.approx(25 / 26, abs=2e-3)
    assert share == pytest.approx(1 - 0.9**25, abs=5e-3)


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=4), min_size=1, max_size=4))
def test_it_is_at_least_the_mean(groups: list[list[float]]) -> None:
    mean, _ = expected_maximum(groups)
    assert mean >= sum(sum(group) / len(group) for group in groups) / len(groups) - 1e-12
