from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import ConfigError
from rlaif_rewards.final_answer import normalised, number, same, taking


@pytest.mark.parametrize(
    ("take", "text", "expected"),
    [
        ("whole", "It is Paris.", "It is Paris."),
        ("tag", "so <answer> Paris </answer>.", "Paris"),
        ("tag", "<answer>a</answer><answer>b</answer>", None),
        ("tag", "Paris", None),
        ("last_line", "First.\n\nParis\n ", "Paris"),
        ("last_line", " ", None),
        ("number", "He has 3 apples and 4 pears.\n#### 72", "72"),
        ("number", "#### 1,234.50 dollars, not 3", "1,234.50"),
        ("number", "The answer is $18, since 6 * 3 = 18 and 5 are left.", "$18"),
        ("number", "A: 12\n", "12"),
        ("number", "first 3, then -4", "-4"),
        ("number", "it is 3/4 of it", "3/4"),
        ("number", "none at all", None),
        ("number", "#### none, but 5 before", "5"),
        ("boxed", r"so \boxed{\frac{1}{2}} it is", r"\frac{1}{2}"),
        ("boxed", r"\boxed{a} or \boxed{b}", "b"),
        ("boxed", r"\boxed{never closed", None),
        ("boxed", "none", None),
    ],
)
def test_where_the_final_answer_stands(take: str, text: str, expected: str | None) -> None:
    assert taking(take)(text) == expected


def test_a_function_may_find_it(written) -> None:
    assert taking(written("def last(text):\n    return text[-1:] or None"))("abc") == "c"


def test_a_place_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match="take is 'tags'; did you mean 'tag'"):
        taking("tags")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("72", 72),
        (" 1,234.5 ", Fraction(12345, 10)),
        ("-3", -3),
        ("−3", -3),
        ("$18", 18),
        ("50 %", 50),
        ("3/4", Fraction(3, 4)),
        (".5", Fraction(1, 2)),
        ("1/0", None),
        ("nan", None),
        ("inf", None),
        ("1e5", None),
        ("1,23", None),
        ("1 2", None),
        ("", None),
        ("9" * 100, None),
    ],
)
def test_what_is_a_number(text: str, value: Fraction | int | None) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Paris", "paris."),
        ("The Beatles", "beatles"),
        ("72", "72.0"),
        ("1,000", "1000"),
        ("“naïve”", "naïve"),
    ],
)
def test_same(one: str, other: str) -> None:
    assert same(one, other)
    assert same(other, one)


@pytest.mark.parametrize(
    ("one", "other"), [("5", "-5"), ("C++", "C"), ("", ""), ("...", " "), ("a", "an"), ("35", "3.5")]
)
def test_not_same(one: str, other: str) -> None:
    assert not same(one, other)


@given(st.text(max_size=30), st.text(max_size=30))
def test_sameness_is_symmetric_and_normalising_settles(one: str, other: str) -> None:
    assert same(one, other) == same(other, one)
    assert normalised(normalised(one)) == normalised(one)


@given(st.integers(-(10**12), 10**12))
def test_every_integer_is_read_back(value: int) -> None:
    assert number(f"{value}") == number(f"{value:,}") == value
    assert taking("number")(f"it is #### {value:,}.") == f"{value:,}"


def test_a_megabyte_is_read_in_no_time() -> None:
    for text in (
        "1" * 1_000_000,
        "1," * 500_000,
        "1,111," * 150_000,
        "<answer>" * 125_000,
        r"\boxed{" * 140_000,
        "answer is " * 100_000,
    ):
        for take in ("number", "boxed", "tag"):
            taking(take)(text)


@pytest.mark.real
def test_numbers_agree_with_graded_solutions(real_rows) -> None:
    """Measured: all of 1520 solutions are told right or wrong as the data set does."""
    take, agreed, count = taking("number"), 0, 0
    for row in real_rows("math_gsm8k_solutions"):
        for solver in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
            said, due = take(row[solver]["solution"]), take(row["ground_truth"])
            agreed += (said is not None and same(said, due)) == row[solver]["is_correct"]
            count += 1
    assert agreed == count == 1520
