from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_judges.asking import Message, Request
from rlaif_judges.backends.faults import Lacking, Otherwise, Unanswered
from rlaif_judges.backends.reading import ByDecision, ByJson, ByLogprobs, BySchema, Heard, Text, clean, weighed
from rlaif_judges.backends.shapes import parsed

SYSTEM, USER = Message(role="system", content="Be fair."), Message(role="user", content="Which?")
PICK = Request(messages=(SYSTEM, USER), options=("A", "B"))


def completion(content: str | None, finish: str = "stop", **more: Any) -> bytes:
    message = {"role": "assistant", "content": content} | more.pop("message", {})
    return json.dumps({"choices": [{"message": message, "finish_reason": finish} | more]}).encode()


def scored(*alternatives: tuple[str, Any], content: str = "A") -> bytes:
    top = [{"token": token, "logprob": logprob} for token, logprob in alternatives]
    return completion(
        content, "length", logprobs={"content": [{"token": content, "logprob": -0.1, "top_logprobs": top}]}
    )


def hear(reading: Any, body: bytes, request: Request = PICK) -> Heard:
    heard = reading.heard(request, parsed(reading.shape, body))
    assert isinstance(heard, Heard)
    return heard


# ---- what is sent ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", [ByLogprobs(0.1), ByJson(), BySchema()])
def test_how_to_answer_is_said_at_the_end_of_what_the_user_said_last(reading: Any) -> None:
    after = Message(role="assistant", content="So:")
    body = reading.body(Request(messages=(SYSTEM, USER, USER, after), options=("A", "B")))
    said = [message["content"] for message in body["messages"]]
    assert said[0] == "Be fair."
    assert said[1] == "Which?"
    assert said[2].startswith("Which?\n\nAnswer with ")
    assert "A, B" in said[2]
    assert said[3] == "So:"


def test_without_a_user_the_sentence_is_a_turn_of_its_own() -> None:
    body = ByLogprobs(0.1).body(Request(messages=(SYSTEM,), options=("A", "B")))
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


def test_each_way_asks_for_what_it_reads() -> None:
    by_logprobs = ByLogprobs(0.1).body(PICK)
    assert (by_logprobs["max_tokens"], by_logprobs["logprobs"], by_logprobs["top_logprobs"]) == (1, True, 20)
    schema = BySchema().body(PICK)["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert schema["schema"]["properties"] == {"choice": {"type": "string", "enum": ["A", "B"]}}
    assert ByDecision().body(PICK) == {
        "state": "Be fair.\n\nWhich?",
        "questions": {"choice": {"type": "choice", "instructions": "Choose one.", "criteria": {"A": None, "B": None}}},
    }
    assert Text().body(Request(messages=(USER,), max_tokens=7)) == {
        "messages": [{"role": "user", "content": "Which?"}],
        "max_tokens": 7,
        "temperature": 0.0,
    }


def test_a_seed_is_sent_where_chance_has_a_say() -> None:
    assert "seed" not in Text().body(Request(messages=(USER,), seed=3))
    assert Text().body(Request(messages=(USER,), seed=3, temperature=1.0))["seed"] == 3


def test_a_decision_about_a_dialogue_says_who_said_what() -> None:
    body = ByDecision().body(Request(messages=(USER, Message(role="assistant", content="B")), options=("A", "B")))
    assert body["state"] == [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "B"}]


@given(st.text(st.characters(categories=["L", "Cs", "Cc", "Zs"]), max_size=20))
def test_whatever_is_said_can_be_sent(text: str) -> None:
    assert len(clean(text).encode().decode()) == len(text)
    assert clean("naïve \x00 猫") == "naïve \x00 猫"


# ---- log-probabilities ----------------------------------------------------------------------------------------------


def test_options_have_the_probabilities_that_the_server_gives_their_labels() -> None:
    heard = hear(ByLogprobs(0.1), scored(("A", math.log(0.6)), ("B", math.log(0.2)), ("The", math.log(0.1))))
    assert heard.probabilities == pytest.approx((0.75, 0.25))
    assert heard.mass == pytest.approx(0.8)
    assert heard.text == "A"


def test_spellings_of_one_label_are_summed() -> None:
    body = scored(*((token, math.log(0.1)) for token in ["A", " A", "\nA", "▁A", "ĠA", "B", "a", "A.", "BA"]))
    assert hear(ByLogprobs(0.1), body).probabilities == pytest.approx((5 / 6, 1 / 6))


def test_an_option_that_is_not_listed_is_as_probable_as_it_may_be() -> None:
    body = scored(("A", math.log(0.9)), ("x", math.log(0.04)), ("y", math.log(0.02)))
    assert hear(ByLogprobs(0.1), body).probabilities == pytest.approx((0.9 / 0.92, 0.02 / 0.92))
    body = scored(("A", math.log(0.9)), ("x", math.log(0.095)))  # 0.005 is left over
    assert hear(ByLogprobs(0.1), body).probabilities == pytest.approx((0.9 / 0.905, 0.005 / 0.905))


def test_the_unlisted_are_not_counted_in_the_mass() -> None:
    body = scored(("x", math.log(0.5)), ("y", math.log(0.3)))
    with pytest.raises(Otherwise):
        hear(ByLogprobs(0.0), body)


def test_less_mass_than_demanded_is_an_answer_to_something_else() -> None:
    body = scored(("The", math.log(0.95)), ("A", math.log(0.03)), ("B", math.log(0.01)), content="The")
    with pytest.raises(Otherwise, match=r"answered something else: 'The'; its options had 0.04 .* less than 0.1"):
        hear(ByLogprobs(0.1), body)
    assert hear(ByLogprobs(0.04), body).probabilities == pytest.approx((0.75, 0.25))


@pytest.mark.parametrize(
    ("alternatives", "complaint"),
    [
        ([("A", math.nan), ("B", -1.0)], "nan"),
        ([("A", math.inf), ("B", -1.0)], "inf"),
        ([("A", 0.5), ("B", -1.0)], "log-probability 0.5 for 'A', which is none"),
        ([("A", -0.1), ("B", -0.1)], "sum to 1.81"),
        ([("A", -0.1)], "lists 1 alternatives, too few"),
    ],
)
def test_numbers_that_are_no_log_probabilities_are_no_answer(alternatives: list[Any], complaint: str) -> None:
    with pytest.raises(Unanswered, match=complaint):
        hear(ByLogprobs(0.1), scored(*alternatives))


def test_no_probability_at_all_is_one() -> None:
    assert hear(ByLogprobs(0.1), scored(("A", -0.0), ("B", -math.inf), ("C", -9999.0))).probabilities == (1.0, 0.0)


def test_a_label_that_takes_several_tokens_is_refused_rather_than_misread() -> None:
    for token in ("1", "excel"):
        body = scored((token, math.log(0.5)), ("2", math.log(0.4)))
        with pytest.raises(Unanswered, match="use options of one token each"):
            hear(ByLogprobs(0.1), body, Request(messages=(USER,), options=("10", "excellent", "2")))
    body = scored(("1", math.log(0.5)), ("10", math.log(0.25)), ("2", math.log(0.25)))
    heard = hear(ByLogprobs(0.1), body, Request(messages=(USER,), options=("1", "2", "10")))
    assert heard.probabilities == pytest.approx((0.5, 0.25, 0.25))


@pytest.mark.parametrize(
    "logprobs", [None, {}, {"content": None}, {"content": []}, {"content": [{"token": "A", "logprob": 0}]}]
)
def test_a_reply_without_log_probabilities_lacks_them(logprobs: Any) -> None:
    with pytest.raises(Lacking):
        hear(ByLogprobs(0.1), completion("A", logprobs=logprobs))


listings = st.lists(
    st.tuples(st.sampled_from(["A", " A", "B", "C\n", "x", "yes", ""]), st.floats(1e-12, 1)), min_size=4, max_size=20
)


@given(listings, st.permutations(["A", "B", "C"]))
def test_probabilities_sum_to_one_and_follow_their_options(listing: list[tuple[str, float]], order: list[str]) -> None:
    total = sum(p for _, p in listing)
    stripped = [(token.strip(), p / total) for token, p in listing]
    found, mass = weighed(("A", "B", "C"), stripped)
    assert mass == pytest.approx(sum(p for token, p in stripped if token in ("A", "B", "C")))
    if not mass:
        assert found == ()
        return
    assert sum(found) == pytest.approx(1)
    assert all(p >= 0 for p in found)
    told = dict(zip("ABC", found, strict=True))
    assert weighed(order, stripped)[0] == pytest.approx([told[option] for option in order])


# ---- decisions ------------------------------------------------------------------------------------------------------


def decision(probabilities: Any, choice: str = "A") -> bytes:
    return json.dumps({"answers": {"choice": {"choice": choice, "probabilities": probabilities}}}).encode()


def test_a_decision_says_how_probable_each_option_is() -> None:
    heard = hear(ByDecision(), decision({"B": 0.7, "A": 0.3}, "B"))
    assert heard.probabilities == pytest.approx((0.3, 0.7))
    assert heard.text == "B"


@pytest.mark.parametrize("probabilities", [{"A": math.nan, "B": 0.5}, {"A": -0.1, "B": 1.1}, {"A": 0.2, "B": 0.2}])
def test_a_decision_of_numbers_that_are_no_probabilities_is_no_answer(probabilities: Any) -> None:
    with pytest.raises(Unanswered, match="that are none"):
        hear(ByDecision(), decision(probabilities))


@pytest.mark.parametrize("probabilities", [{"A": 1.0}, {"A": 0.5, "B": 0.3, "C": 0.2}])
def test_a_decision_about_other_options_lacks_what_was_asked(probabilities: Any) -> None:
    with pytest.raises(Lacking):
        hear(ByDecision(), decision(probabilities))


# ---- one JSON object ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", [ByJson(), BySchema()])
@pytest.mark.parametrize("text", ['{"choice": "B"}', ' \n{"choice":"B"}\t', '{"choice": "\\u0042"}'])
def test_the_choice_is_probability_one(reading: Any, text: str) -> None:
    heard = hear(reading, completion(text))
    assert heard.probabilities == (0.0, 1.0)
    assert heard.text == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "B",
        '"B"',
        '["B"]',
        "null",
        '{"choice": "C"}',
        '{"choice": 1}',
        '{"choice": ["A"]}',
        '{"choice": {"choice": "A"}}',
        '{"Choice": "A"}',
        '{"choice": "A", "choice": "B"}',
        '{"choice": "A", "why": "it is"}',
        'I choose {"choice": "A"}',
        '{"choice": "A"} because it is better',
        '{"choice": "A"}{"choice": "B"}',
        '```json\n{"choice": "A"}\n```',
        'Ignore all that. {"choice": "A"}\x00',
        "[" * 100_000,
        "9" * 10_000,
    ],
)
def test_anything_but_that_one_object_is_no_choice(text: str) -> None:
    with pytest.raises(Otherwise, match="answered something else"):
        hear(ByJson(), completion(text))


def test_prose_under_a_schema_shows_that_the_server_knows_none() -> None:
    with pytest.raises(Lacking):
        hear(BySchema(), completion("I prefer A"))
    with pytest.raises(Otherwise, match="cut off by max_tokens"):
        hear(BySchema(), completion('{"cho', "length"))


# ---- texts ----------------------------------------------------------------------------------------------------------


def test_a_text_is_as_it_was_written_and_says_whether_it_was_cut_off() -> None:
    assert hear(Text(), completion(" naïve\x00 \u202e猫\n")) == Heard(text=" naïve\x00 \u202e猫\n")
    assert hear(Text(), completion("and so", "length")).cut
    assert hear(Text(), completion("")).text == ""


@pytest.mark.parametrize("reading", [Text(), ByJson(), ByLogprobs(0.1)])
@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (completion(None, message={"refusal": "I will \x1b[31mnot"}), r"the judge refused: I will \\x1b\[31mnot"),
        (completion("A", "content_filter"), "content filter"),
    ],
)
def test_a_refusal_is_no_answer(reading: Any, body: bytes, complaint: str) -> None:
    with pytest.raises(Unanswered, match=complaint):
        hear(reading, body)


@pytest.mark.parametrize("reading", [Text(), ByJson()])
def test_no_content_is_no_answer(reading: Any) -> None:
    with pytest.raises(Unanswered, match=r"wrote no text \(finish reason: tool_calls\)"):
        hear(reading, completion(None, "tool_calls"))
