from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_rewards.questions import MOST, asks_back, is_question


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("Which Alex do you mean?", "Which Alex do you mean?"),
        ("There are two Alexes. Which one do you mean?", "Which one do you mean?"),
        ("Sorry, I can't tell. Could you tell me which city?", "Could you tell me which city?"),
        ("What kind of train? I need to know that.", "What kind of train?"),
        ("are you interested in the history of flame design", "are you interested in the history of flame design"),
        ("Please provide more details.", "Please provide more details."),
        ("When do you want to travel? And which class do you prefer?", "And which class do you prefer?"),
    ],
)
def test_a_question_back_is_found(text: str, question: str) -> None:
    assert asks_back(text) == question


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Paris.",
        "Who knows?",
        "Why is that? It is because of the light.",
        "You ask which one you need? You need the red one.",
        "Take the red one. Then press start. Do you want me to go on?",
        "The answer is 42. Is there anything else I can help you with?",
        "Does that help?",
        "How can I help you today?",
        "\n".join(f"{number}. What do you like about number {number}?" for number in range(MOST + 2)),
        "I go where you go",
    ],
)
def test_what_asks_nothing_of_the_user(text: str) -> None:
    assert asks_back(text) == ""


@given(st.text(max_size=100))
def test_what_is_asked_was_said(text: str) -> None:
    assert asks_back(text) in text


def test_a_mark_makes_a_question() -> None:
    assert is_question('So what?"')
    assert is_question("何ですか？")
    assert not is_question("So what")


def test_a_megabyte_is_read_in_no_time() -> None:
    assert asks_back("which " * 170_000 + "?") == ""
    assert asks_back("do you ? " * 110_000) == ""


@pytest.mark.real
def test_questions_that_people_asked_back(real_rows) -> None:
    """Measured: 93 % of 1297 clarifying questions, written without question marks, 97 % with one; 1 % of the replies
    to them."""
    rows = real_rows("clarify_clariq")
    questions = sorted({row["question"] for row in rows if row["question"]})
    replies = sorted({row["answer"] for row in rows if row["answer"]})

    def share(texts: list[str]) -> float:
        return sum(bool(asks_back(text)) for text in texts) / len(texts)

    assert share(questions) >= 0.92
    assert share([f"{question}?" for question in questions]) >= 0.96
    assert share(replies) <= 0.02


@pytest.mark.real
def test_answers_seldom_ask_back(real_rows) -> None:
    """Measured: 2 % of 1000 answers of ChatGPT to ordinary requests, most of which do ask back."""
    rows = real_rows("hallucination_halueval")
    assert sum(bool(asks_back(row["chatgpt_response"])) for row in rows) <= 25
