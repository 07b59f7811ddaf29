from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import ConfigError, Score
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.format import Format


def complaint(source: Format, text: str) -> str:
    """What is wrong; empty where the answer scores 1."""
    (outcome,) = source.score(make_rollouts([text]))
    assert isinstance(outcome, Score)
    assert outcome.value in (0.0, 1.0)
    assert outcome.reason
    return "" if outcome.value else outcome.reason


@pytest.mark.parametrize("form", ["tags", "json", "bullets", "boxed"])
def test_keeps_the_contract(form: str) -> None:
    check_reward(Format(form=form))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("<think>a</think><answer>b</answer>", ""),
        ("\n<think>a < b</think>\n\n<answer>b</answer>\n", ""),
        ("<answer>b</answer><think>a</think>", "there is text before <think>"),
        ("<think>a</think>", "<answer> and </answer> must each occur once"),
        ("<think><think>a</think><answer>b</answer>", "<think> and </think> must each occur once"),
        ("<think>a<answer>b</think></answer>", "<answer>..</answer> is out of order"),
        ("</think>a<think><answer>b</answer>", "<think>..</think> is out of order"),
        ("<think> </think><answer>b</answer>", "<think> is empty"),
        ("well, <think>a</think><answer>b</answer>", "there is text before <think>"),
        ("<think>a</think> so <answer>b</answer>", "there is text before <answer>"),
        ("<think>a</think><answer>b</answer>!", "there is text after the last tag"),
        ("", "<think> and </think> must each occur once"),
    ],
)
def test_tags(text: str, wrong: str) -> None:
    assert complaint(Format(), text) == wrong


def test_tags_may_stand_among_other_text_when_not_strict() -> None:
    loose = Format(tags=("answer",), strict=False)
    assert complaint(loose, "well: <answer>b</answer>!") == ""
    assert complaint(loose, "well: <answer></answer>!") == "<answer> is empty"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('{"verdict": 1, "why": "x"}', ""),
        (' {"why": null, "verdict": [1]} \n', ""),
        ('{"verdict": 1}', "the JSON lacks why"),
        ('{"verdict": 1, "why": 2, "more": 3}', "the JSON has other keys: more"),
        ('{"verdict": 1, "verdict": 2, "why": 2}', "not JSON: a key occurs twice"),
        ('{"verdict": NaN, "why": 2}', "not JSON: NaN is not a JSON number"),
        ('{"verdict": -Infinity, "why": 2}', "not JSON: -Infinity is not a JSON number"),
        ('{"verdict": 1, "why": 2} ok', "there is text after the JSON"),
        ("[1]", "JSON, but not an object with verdict, why"),
    ],
)
def test_json_with_keys(text: str, wrong: str) -> None:
    assert complaint(Format(form="json", keys=("verdict", "why")), text) == wrong


def test_json_of_any_kind() -> None:
    source = Format(form="json")
    assert [complaint(source, text) for text in ("3", '"x"', "[]", "null")] == [""] * 4
    for broken in ("", "{", "{'a': 1}", "[1,]", "[" * 100_000, "1" * 10_000):
        assert complaint(source, broken).startswith("not JSON: ")


def test_json_in_a_fence_when_not_strict() -> None:
    source = Format(form="json", keys=("a",), strict=False)
    assert complaint(source, 'Here:\n```json\n{"a": 1, "b": 2}\n```\nDone.') == ""
    assert complaint(source, "Here: nothing").startswith("not JSON")
    assert complaint(Format(form="json"), '```json\n{"a": 1}\n```').startswith("not JSON")


@pytest.mark.parametrize("scalar", ["3", "-1.5e3", '"yes, it is"', "null", "true"])
def test_a_json_scalar_in_a_fence_when_not_strict(scalar: str) -> None:
    loose, strict = Format(form="json", strict=False), Format(form="json")
    for fenced in (f"```json\n{scalar}\n```", f"It is [so]:\n```\n{scalar}\n``` .", f"```{scalar}```"):
        assert complaint(loose, fenced) == ""
        assert complaint(strict, fenced).startswith("not JSON")
    assert complaint(loose, f" {scalar}\n") == ""
    assert complaint(loose, f"{scalar} apples") == "there is text after the JSON"
    assert complaint(loose, f"it is {scalar}").startswith("not JSON")
    assert complaint(loose, f"```\n{scalar} apples\n```").startswith("not JSON")
    assert complaint(Format(form="json", keys=("a",), strict=False), f"```\n{scalar}\n```") == (
        "JSON, but not an object with a"
    )


def test_bullets() -> None:
    source = Format(form="bullets")
    assert complaint(source, "- one\n\n * two\n3. three\n4) four\n• five") == ""
    assert complaint(source, "Sure:\n- one") == "not an item: 'Sure:'"
    assert complaint(source, "-one") == "not an item: '-one'"
    assert complaint(source, " \n") == "no list at all"


def test_boxed() -> None:
    source = Format(form="boxed")
    assert complaint(source, r"so \boxed{\frac{1}{2}} it is") == ""
    assert complaint(source, r"\boxed{1} or \boxed{2}") == r"\boxed{..} occurs 2 times, not once"
    assert complaint(source, "one half") == r"\boxed{..} occurs 0 times, not once"
    assert complaint(source, r"\boxed{\frac{1}{2}") == "the box is never closed"
    assert complaint(source, r"\boxed{\{}") == ""
    assert complaint(source, r"\boxed{\{1, 2\}} it is}") == ""
    assert complaint(source, r"\boxed{1 \\}") == ""
    assert complaint(source, r"\boxed{1\}") == "the box is never closed"
    assert complaint(source, r"\boxed{ }") == "the box is empty"


@given(st.text('<>/thinkaswer[]{}"\\:,-1 \n', max_size=40), st.booleans())
def test_any_text_gets_a_score(text: str, strict: bool) -> None:
    for form in ("tags", "json", "bullets", "boxed"):
        complaint(Format(form=form, strict=strict), text)


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"tags": ("<think>",)}, "'<think>' is not a tag name"),
        ({"tags": ("a", "a")}, "different names"),
        ({"tags": ()}, "different names"),
        ({"keys": ("a",)}, "keys belong to form = 'json'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, tuple[str, ...]], wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        Format(**options)


def test_brackets_before_the_json_do_no_harm_when_not_strict() -> None:
    source = Format(form="json", keys=("a",), strict=False)
    assert complaint(source, 'see [1] and {this}: {"a": 1}') == ""
    assert "JSON" in complaint(source, "see [1] and {this}")
