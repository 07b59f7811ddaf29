from __future__ import annotations

import jinja2
import pytest

from rlaif_core import DataError
from rlaif_core.testing import FakePolicy
from rlaif_judges.asking import Message, Reply, Request
from rlaif_judges.backends.local import Local, manner

WORDS = ("A", "B", "rules", "question", "Answer", "with", "or", "alone.")


class Chat:
    """A chat that takes system messages or not, or no messages at all."""

    def __init__(self, *, template: bool = True, system: bool = True) -> None:
        self.use_template, self.system = template, system

    def encode(self, prompt) -> list[int]:
        if not self.system and prompt.messages[0]["role"] == "system":
            raise DataError("the model's chat template refuses it") from jinja2.TemplateError()
        return []


def prompt_of(request: Request, chat: Chat | None):
    """The prompt that a policy with that chat is given."""
    policy, seen = FakePolicy(WORDS), []
    if chat is not None:
        policy.chat = chat
    sampler = policy.sampler

    def spied(**how):
        made = sampler(**how)
        recorded = made.recorded
        made.recorded = lambda prompts, answers: seen.extend(prompts) or recorded(prompts, answers)
        return made

    policy.sampler = spied
    ((_, reply),) = Local(policy, identity={}).answer([(0, request)])
    assert isinstance(reply, Reply)
    return seen[0]


def request() -> Request:
    messages = (Message(role="system", content="rules"), Message(role="user", content="question"))
    return Request(messages=messages, options=("A", "B"))


@pytest.mark.parametrize(
    ("chat", "kind"),
    [(None, "system"), (Chat(), "system"), (Chat(system=False), "chat"), (Chat(template=False), "text")],
)
def test_it_is_found_out_how_a_model_can_be_talked_to(chat: Chat | None, kind: str) -> None:
    policy = FakePolicy(WORDS)
    policy.chat = chat
    assert manner(policy) == kind


def test_a_model_without_system_messages_reads_them_before_the_question() -> None:
    ask = "question Answer with A or B alone."
    assert [dict(its) for its in prompt_of(request(), Chat()).messages] == [
        {"role": "system", "content": "rules"},
        {"role": "user", "content": ask},
    ]
    (only,) = prompt_of(request(), Chat(system=False)).messages
    assert dict(only) == {"role": "user", "content": f"rules\n\n{ask}"}


def test_a_model_without_a_chat_reads_one_text() -> None:
    said = prompt_of(request(), Chat(template=False))
    assert said.text == "rules\n\nquestion Answer with A or B alone.\n\nAnswer: "
    assert not said.messages


def test_a_text_that_had_no_room_says_that_it_was_cut() -> None:
    asked = [Request(messages=request().messages, max_tokens=limit, temperature=1.0) for limit in (1, 200)]
    said = [reply for _, reply in Local(FakePolicy(WORDS), identity={}).answer(enumerate(asked))]
    assert [its.cut for its in said if isinstance(its, Reply)] == [True, False]
