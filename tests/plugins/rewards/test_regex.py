from __future__ import annotations

import time

import pytest

from rlaif_core import ConfigError, Failed, Outcome, Score
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.regex import Regex


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
    "braces", ["{e}", "{d}", "{i<=1}", "{d,i<2}", "{1<=s<=2}", "{2i+2d+1s<=4}", "{e:[a-z]}", "(?x) { e }", "{side}"]
)
def test_braces_that_would_make_a_match_fuzzy_are_refused(braces: str) -> None:
    for before in ("colou?r", r"\p{L}", r"\\", "[[:alpha:]]", "(?#[)ab", ""):
        with pytest.raises(ConfigError, match=r"would make the match fuzzy; for these letters write \\\{"):
            Regex(pattern=before + braces)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("a{2}b{1,}c{,3}", "aabcc"),
        (r"x\{d\}", "x{d}"),
        ("x\\{i<=1}", "x{i<=1}"),
        (r'\{"a": {"e"}}', '{"a": {"e"}}'),
        ("{D}", "{D}"),
        (r"\p{IDS}\p{ids}", "ab"),
        (r"\N{DIGIT ONE}", "1"),
        ("[[:alpha:]]", "a"),
        ("[{e}]+", "{e}"),
        ("[^{s}]+", "a"),
        (r"[]{i}\]]", "]"),
        ("[[:^alpha:]{e}]", "1"),
        ("(?V1)[a-z--[aeiou]]", "b"),
    ],
)
def test_other_braces_and_sets_are_read_as_told(pattern: str, text: str) -> None:
    assert value(Regex(pattern=pattern, full=True), text) == 1.0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"pattern": "("}, r"'\(' is not a pattern: missing \)"),
        ({"pattern": "a", "cap": 0}, "cap must be at least 1"),
        ({"pattern": "a", "timeout": 0}, "timeout a number of seconds above 0"),
        ({"pattern": "a", "timeout": float("nan")}, "timeout a number of seconds above 0"),
        ({"pattern": "a", "timeout": float("inf")}, "timeout a number of seconds above 0"),
        ({"pattern": "a", "cap": 2, "full": True}, "drop cap or full"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Regex(**options)
