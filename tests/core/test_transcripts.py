from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import DataError
from rlaif_core.transcripts import messages_of, parted

SAID = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=":"), max_size=12)
TURNS = st.lists(st.tuples(SAID, SAID), max_size=3)


def written(turns: list[tuple[str, str]], question: str, answer: str) -> str:
    before = "".join(f"\n\nHuman:{asked}\n\nAssistant:{said}" for asked, said in turns)
    return f"{before}\n\nHuman:{question}\n\nAssistant:{answer}"


def chat(turns: list[tuple[str, str]], question: str, *answer: str) -> list[dict[str, str]]:
    pairs = [*turns, (question, answer[0])] if answer else turns
    return [
        {"role": role, "content": text}
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]


@given(TURNS, SAID, SAID, SAID)
def test_a_transcript_is_cut_before_the_last_answer_and_never_changed(
    turns: list[tuple[str, str]], question: str, chosen: str, rejected: str
) -> None:
    pair = [written(turns, question, answer) for answer in (chosen, rejected)]
    if chosen == rejected:
        with pytest.raises(DataError, match="are the same"):
            parted(*pair)
        return
    prompt, *answers = parted(*pair)
    assert answers == [chosen, rejected]
    assert [prompt + answer for answer in answers] == pair
    assert prompt.endswith("\n\nAssistant:")


@given(TURNS, SAID, SAID, SAID)
def test_messages_are_cut_as_transcripts_are(
    turns: list[tuple[str, str]], question: str, chosen: str, rejected: str
) -> None:
    if chosen != rejected:
        prompt, *answers = parted(chat(turns, question, chosen), chat(turns, question, rejected))
        assert answers == [chosen, rejected]
        assert prompt == [*chat(turns, ""), {"role": "user", "content": question}]


def test_answers_that_begin_alike_keep_their_beginning() -> None:
    # the longest common beginning of the texts would leave "\n\nAssistant: I do" to the prompt
    prompt, *answers = parted(
        "\n\nHuman: is it?\n\nAssistant: I do not know", "\n\nHuman: is it?\n\nAssistant: I doubt it"
    )
    assert (prompt, answers) == ("\n\nHuman: is it?\n\nAssistant:", [" I do not know", " I doubt it"])


def test_conversations_that_part_earlier_are_compared_there_and_no_later() -> None:
    one = written([("a", "yes"), ("b", "c")], "d", "e")
    other = written([("a", "no")], "f", "g")
    assert parted(one, other) == ("\n\nHuman:a\n\nAssistant:", "yes", "no")


def test_turns_as_messages() -> None:
    pair = ("\n\nHuman: is it?\n\nAssistant: yes ", "\n\nHuman: is it?\n\nAssistant: no")
    assert parted(*pair, chat=True) == ([{"role": "user", "content": "is it?"}], "yes", "no")
    assert messages_of(pair[0])[-1] == {"role": "assistant", "content": "yes"}
    assert messages_of("\n\nHuman: is it?\n\nAssistant:") == [{"role": "user", "content": "is it?"}]
    assert messages_of("Human: is it?\n\nAssistant: a\nHuman: b")[-1]["content"] == "a\nHuman: b"
    assert messages_of("Somebody said\n\nHuman: is it?") == messages_of("") == []


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("The sky is blue.", "The sky is green.", "The sky is"),
        ("The sky is blue.", "The sky is black.", "The sky is"),
        ("The sky\n is blue.", "The sky\n is.", "The sky\n"[:-1]),
        ("The sky", "The sky is", "The sky"),
    ],
)
def test_other_texts_share_whole_words(chosen: str, rejected: str, prompt: str) -> None:
    assert parted(chosen, rejected) == (prompt, chosen[len(prompt) :], rejected[len(prompt) :])


@pytest.mark.parametrize(
    ("chosen", "rejected", "complaint"),
    [
        ("blue", "green", "share no beginning; name its column"),
        ("blue", "black", "share no beginning"),
        ("", "black", "share no beginning"),
        (None, "black", "column 'chosen' is null, but must be a text or a list"),
        ("blue", {"a": 1}, "column 'rejected' is a dict"),
        ([{"role": "user", "content": "a"}], "a", "is a text and the other a list"),
        (
            [{"role": "user"}],
            [{"role": "user", "content": "a"}],
            "column 'chosen': the content of a message is missing",
        ),
        (chat([], "a", "b"), chat([("a", "b")], "c", "d"), "goes on where the other ends"),
        (chat([], "a", "b"), chat([], "c", "b"), "part at turn 1, which is not the assistant's in both"),
        (chat([("a", "b")], "c", "d"), chat([], "a", "b")[:1], "goes on where the other ends"),
        (chat([], "a", "b")[1:], chat([], "a", "c")[1:], "begin with different answers; there is no prompt before"),
    ],
)
def test_what_has_no_prompt_in_common_is_refused(chosen: Any, rejected: Any, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        parted(chosen, rejected)


def test_a_megabyte_is_cut_in_no_time() -> None:
    long = "x" * 2**20
    assert parted(f"a {long}1", f"a {long}2")[0] == "a"
    assert parted(written([], long, "1"), written([], long, "2"))[1:] == ("1", "2")


@pytest.mark.real
def test_every_pair_of_hh_has_a_prompt(real_data: Path) -> None:
    with (real_data / "data" / "pref_hh_harmless.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    early = 0
    for row in rows:
        prompt, chosen, rejected = parted(row["chosen"], row["rejected"])
        assert prompt.startswith("\n\nHuman:")
        assert prompt.endswith("\n\nAssistant:")
        assert chosen != rejected
        assert row["chosen"].startswith(prompt + chosen)
        assert row["rejected"].startswith(prompt + rejected)
        early += row["chosen"] != prompt + chosen or row["rejected"] != prompt + rejected
    assert early == 1  # one pair parts before its last answer
