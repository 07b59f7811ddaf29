from __future__ import annotations

import pytest

from rlaif_lumen.context import read_context
from rlaif_lumen.grammar import Claim

SYSTEM = {"role": "system", "content": "name is pip feel merry like tea"}


def talk(*turns: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [SYSTEM, *({"role": roles[number % 2], "content": turn} for number, turn in enumerate(turns))]


@pytest.mark.parametrize(
    ("turns", "about"),
    [
        (("where does ada live ?",), ("ada", "live")),
        (("where does ada live ?", "i do not know .", "and what do they eat ?"), ("ada", "eat")),
        (("where does alex live ?",), ("alex", "live")),
        (("where does alex live ?", "which alex do you mean ?", "i mean alex reed ."), ("alex reed", "live")),
        (("what does alex own ?", "alex stone owns a cat .", "and what do they eat ?"), ("alex stone", "eat")),
        (("what does alex own ?", "ada owns a cat .", "and what do they eat ?"), ("", "eat")),
        (("what does brix own ?", "brix owns a cat .", "and what do they eat ?"), ("", "eat")),
        (("say that ada eats rice !",), ("ada", "eat")),
        (("what now ?",), ("", "")),
    ],
)
def test_names_are_resolved_as_far_as_words_go(turns: tuple[str, ...], about: tuple[str, str]) -> None:
    assert read_context(talk(*turns)).about == about


def test_one_claim_is_remembered_until_the_next_reply() -> None:
    said = talk("where does ada live ?", "surely ada lives in oslo .", "are you sure ?")
    assert read_context(said).claim == Claim("ada", "live", "oslo")
    assert read_context([*said, {"role": "assistant", "content": "yes i am sure ."}]).claim is None
    twice = talk("where does ada live ?", "ada lives in oslo . ada lives in lima .", "are you sure ?")
    assert read_context(twice).claim is None


def test_a_question_back_stays_open_for_one_turn() -> None:
    said = talk("where does alex live ?", "which alex do you mean ?")
    assert read_context(said).asked_back == "alex"
    assert read_context([*said, *talk("hello !", "hello there .")[1:]]).asked_back == ""


def test_a_stranger_s_system_message_is_no_persona() -> None:
    assert read_context([{"role": "system", "content": "be brief"}]).persona is None
