from __future__ import annotations

import math
from typing import Any

import pytest

from rlaif_core import Abstain, DataError, Failed, FeedbackError, Prompt, Score
from rlaif_core.testing import make_rollouts
from rlaif_rewards.trl import called

PLAIN = make_rollouts([("yes", "no it is")], meta={"solution": "yes", "level": 3})
TALK = ({"role": "system", "content": "be brief"}, {"role": "user", "content": "is it red"})
CHAT = make_rollouts([("yes", "no")], prompts=[Prompt(id="chat", messages=TALK, meta={"solution": "yes"})])


def passed(rollouts: Any, conversational: bool | None = None) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def function(**columns: Any) -> list[float]:
        seen.update(columns)
        return [0.0] * len(columns["completions"])

    called(function, rollouts, conversational)
    return seen


def test_texts_tokens_and_columns_are_passed_by_name() -> None:
    seen = passed(PLAIN)
    assert seen["prompts"] == ["is it 0"] * 2
    assert seen["completions"] == ["yes", "no it is"]
    assert [len(ids) for ids in seen["completion_ids"]] == [2, 4]  # the end of sequence is one of them
    assert all(type(token) is int for ids in seen["completion_ids"] for token in ids)
    assert seen["solution"] == ["yes", "yes"]
    assert seen["level"] == [3, 3]
    assert seen["trainer_state"].global_step == PLAIN.policy_version
    assert set(seen) == {
        "prompts", "completions", "completion_ids", "solution", "level", "trainer_state", "log_extra", "log_metric"
    }  # fmt: skip


def test_conversations_are_passed_as_messages() -> None:
    seen = passed(CHAT)
    assert seen["prompts"] == [[dict(message) for message in TALK]] * 2
    assert seen["completions"] == [[{"role": "assistant", "content": answer}] for answer in ("yes", "no")]
    assert passed(CHAT, conversational=False)["completions"] == ["yes", "no"]
    assert passed(PLAIN, conversational=True)["prompts"] == [[{"role": "user", "content": "is it 0"}]] * 2


def test_a_column_that_some_prompts_lack_is_none_there() -> None:
    prompts = [Prompt(id="a", text="a", meta={"solution": 1}), Prompt(id="b", text="b", meta={"hint": 2})]
    seen = passed(make_rollouts(["yes", "no"], prompts=prompts))
    assert (seen["solution"], seen["hint"]) == ([1, None], [None, 2])


def test_a_column_with_the_name_of_an_argument_is_refused() -> None:
    rollouts = make_rollouts(["yes"], meta={"completions": 1})
    with pytest.raises(DataError, match="a column 'completions', which TRL passes itself"):
        passed(rollouts)


def test_none_is_no_opinion_and_what_is_not_finite_a_failure() -> None:
    assert called(lambda **_: [None, 0.5], PLAIN, None) == [
        Abstain("the function returned None"),
        Score(0.5, "the function returned 0.5"),
    ]
    assert called(lambda **_: [math.nan, math.inf], PLAIN, None) == [
        Failed("the function returned nan"),
        Failed("the function returned inf"),
    ]


def test_what_is_logged_is_told_in_the_reasons() -> None:
    def function(log_extra: Any, log_metric: Any, **_: Any) -> list[float | None]:
        log_extra("parsed", ["[yes]", "x" * 100])
        log_metric("share", 0.5)
        return [1.0, None]

    said = called(function, PLAIN, None)
    assert said[0] == Score(1.0, "the function returned 1; parsed: [yes]; share: 0.5")
    assert said[1] == Abstain(f"the function returned None; parsed: {'x' * 60}; share: 0.5")


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (0.5, "returned float, but must return a list"),
        ("ab", "returned str, but must return a list"),
        ([1.0], "returned 1 rewards for 2 answers"),
        (["1", "2"], "answer 0 got a str"),
    ],
)
def test_what_is_no_list_of_rewards_is_refused(said: Any, complaint: str) -> None:
    with pytest.raises(FeedbackError, match=complaint):
        called(lambda **_: said, PLAIN, None)


def test_columns_logged_for_other_answers_are_refused() -> None:
    with pytest.raises(FeedbackError, match=r"log_extra\('parsed'\) got 1 values for 2 answers"):
        called(lambda log_extra, **_: log_extra("parsed", [1]), PLAIN, None)


@pytest.mark.filterwarnings("ignore")  # of another project, which is not ours to mend
class TestOfTrl:
    """TRL's own functions, unchanged."""

    @pytest.fixture(scope="class")
    def theirs(self) -> Any:
        return pytest.importorskip("trl.rewards")

    def test_format(self, theirs: Any) -> None:
        rollouts = make_rollouts([("<think>\na\n</think>\nb", "<think>\na")])
        said = called(theirs.think_format_reward, rollouts, True)
        assert [outcome.value for outcome in said] == [1.0, 0.0]

    def test_length_and_repetition_in_tokens(self, theirs: Any) -> None:
        rollouts = make_rollouts([("yes", "yes yes yes yes")])  # two and five tokens
        punished = called(
            theirs.get_soft_overlong_punishment(max_completion_len=6, soft_punish_cache=4), rollouts, None
        )
        assert [outcome.value for outcome in punished] == [0.0, -0.75]
        repeated = called(theirs.get_repetition_penalty_reward(ngram_size=1), rollouts, None)
        assert [outcome.value for outcome in repeated] == pytest.approx([0.0, -3 / 5])

    def test_accuracy(self, theirs: Any) -> None:
        pytest.importorskip("math_verify")
        prompts = [
            Prompt(id="half", text="?", meta={"solution": r"$\frac{1}{2}$"}),
            Prompt(id="unreadable", text="?", meta={"solution": "nobody knows"}),
        ]
        rollouts = make_rollouts([(r"It is \boxed{\frac{1}{2}}", r"\boxed{2}"), "yes"], prompts=prompts)
        said = called(theirs.accuracy_reward, rollouts, True)
        assert isinstance(said[0], Score)
        assert said[0].value == 1.0
        assert "gold_parsed: " in said[0].reason
        assert isinstance(said[1], Score)
        assert said[1].value == 0.0
        assert isinstance(said[2], Abstain)
