from __future__ import annotations

import time

import pytest

from rlaif_builtins.rewards.regex import Regex
from rlaif_core import ConfigError, Failed, Outcome, Score
from rlaif_core.testing import check_reward, make_rollouts


def outcome(source: Regex, text: str) -> Outcome:
    return source.score(make_rollouts([text]))[0]


def value(source: Regex, text: str) -> float:
    said = outcome(source, text)
    assert isinstance(said, Score)
    assert said.reason
    return said.value


def test_keeps_the_contract() -> None:
    check_reward(Regex(pattern=r"(?i)yes|no"))


def test_counts_separate_matches_up_to_the_cap() -> None:
    source = Regex(pattern=r"\d+", cap=4)
    assert [value(source, text) for text in ("", "7", "1 22 3", "1 2 3 4 5 6")] == [0.0, 0.25, 0.75, 1.0]
    assert value(Regex(pattern="a"), "banana") == 1.0


def test_empty_matches_do_not_count() -> None:
    assert value(Regex(pattern="x*", cap=2), "abc") == 0.0
    assert value(Regex(pattern="x*", cap=2), "axb") == 0.5


def test_full_fits_the_whole_answer_or_not() -> None:
    source = Regex(pattern="(yes|no)[.!]?", full=True)
    assert [value(source, text) for text in ("yes", "no!", "yes, please", "")] == [1.0, 1.0, 0.0, 0.0]
    assert value(Regex(pattern=".*", full=True), "two\nlines") == 0.0
    assert value(Regex(pattern="(?s).*", full=True), "two\nlines") == 1.0


def test_backtracking_without_end_fails_in_time_and_is_no_zero() -> None:
    source = Regex(pattern=r"(a|aa)+$", timeout=0.05)
    start = time.monotonic()
    hostile, harmless = source.score(make_rollouts([("a" * 5000 + "!", "aaa")]))
    assert time.monotonic() - start < 5
    assert isinstance(hostile, Failed)
    assert "no answer within 0.05 s" in hostile.reason
    assert harmless == Score(1.0, "matches ['aaa']")
    assert isinstance(outcome(Regex(pattern=r"(a|aa)+", full=True, timeout=0.05), "a" * 5000 + "!"), Failed)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"pattern": "("}, r"'\(' is not a pattern: missing \)"),
        ({"pattern": "a", "cap": 0}, "cap must be at least 1"),
        ({"pattern": "a", "timeout": 0}, "timeout above 0"),
        ({"pattern": "a", "timeout": float("nan")}, "timeout above 0"),
        ({"pattern": "a", "cap": 2, "full": True}, "drop cap or full"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Regex(**options)
