"""Where a prompt ends that only the beginning of its answers holds: conversations written twice, or as one text.

Anthropic's HH pairs are the model, in which `chosen` and `rejected` are whole transcripts of turns that begin with
"\\n\\nHuman:" and "\\n\\nAssistant:". Texts are cut and never changed: prompt and answer, joined, are what was written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rlaif_core.errors import DataError
from rlaif_core.recordings import check_message
from rlaif_core.types import Message

ROLES = {"Human": "user", "Assistant": "assistant"}
_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")


def messages_of(text: str) -> list[Message]:
    """The turns of a transcript as chat messages, blanks around them cut off; empty where the text is none.

    A last turn of the assistant's that says nothing is where the answer goes, and is left out.
    """
    said = _messages(text)
    return said[:-1] if said and said[-1] == {"role": "assistant", "content": ""} else said


def parted(chosen: Any, rejected: Any, *, chat: bool = False) -> tuple[Any, str, str]:
    """(prompt, chosen answer, rejected answer) of two conversations that begin alike.

    Lists of messages and transcripts share their first turns; the answers are the two turns of the assistant's at which
    they part, and what was said behind those is left out. `chat` makes messages of the turns of transcripts. Of other
    texts the prompt is the longest common beginning that ends with a word. Raises DataError where they do not part at
    an answer.
    """
    pair = {"chosen": chosen, "rejected": rejected}
    for name, value in pair.items():
        if not isinstance(value, str) and (not isinstance(value, Sequence) or isinstance(value, bytes)):
            given = "null" if value is None else f"a {type(value).__name__}"
            raise DataError(f"column {name!r} is {given}, but must be a text or a list of chat messages")
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise DataError("one of 'chosen' and 'rejected' is a text and the other a list of messages; use one kind")
    if chosen == rejected:
        raise DataError("columns 'chosen' and 'rejected' are the same, so neither is preferred")
    if not isinstance(chosen, str):
        return _of_messages(*([check_message(it, f"column {name!r}") for it in said] for name, said in pair.items()))
    turns = [_turns(text) for text in pair.values()]
    if not all(turns):
        return _of_texts(chosen, rejected)
    if chat:
        return _of_messages(*(_messages(text) for text in pair.values()))
    written = ([(role, text[start:end]) for role, start, end in _turns(text)] for text in pair.values())
    at = _parting(*written)
    (_, start, end), (_, other, last) = (its[at] for its in turns)
    return chosen[:start], chosen[start:end], rejected[other:last]


def _of_messages(chosen: Sequence[Message], rejected: Sequence[Message]) -> tuple[list[Message], str, str]:
    at = _parting(*([(its["role"], its["content"]) for its in said] for said in (chosen, rejected)))
    return list(chosen[:at]), chosen[at]["content"], rejected[at]["content"]


def _of_texts(chosen: str, rejected: str) -> tuple[str, str, str]:
    pairs = enumerate(zip(chosen, rejected, strict=False))
    shared = chosen[: next((at for at, (one, other) in pairs if one != other), min(len(chosen), len(rejected)))]
    torn = not shared[-1:].isspace() and any(text[len(shared) :][:1].strip() for text in (chosen, rejected))
    prompt = "".join(shared.rsplit(None, 1)[:-1]) if torn else shared.rstrip()
    if not prompt.strip():
        raise DataError(
            "there is no prompt: no column for it, and 'chosen' and 'rejected' share no beginning; name its column "
            "with [prompts] column"
        )
    return prompt, chosen[len(prompt) :], rejected[len(prompt) :]


def _parting(chosen: Sequence[tuple[str, str]], rejected: Sequence[tuple[str, str]]) -> int:
    """The number of the turn at which two conversations part, which must be an answer in both."""
    differ = (at for at, (one, other) in enumerate(zip(chosen, rejected, strict=False)) if one != other)
    at = next(differ, None)
    if at is None:
        raise DataError("one of 'chosen' and 'rejected' goes on where the other ends, so that no two answers differ")
    if {chosen[at][0], rejected[at][0]} != {"assistant"}:
        raise DataError(
            f"'chosen' and 'rejected' part at turn {at + 1}, which is not the assistant's in both, so their "
            "answers are not to one prompt"
        )
    if at == 0:
        raise DataError("'chosen' and 'rejected' begin with different answers; there is no prompt before them")
    return at


def _messages(text: str) -> list[Message]:
    return [{"role": role, "content": text[start:end].strip()} for role, start, end in _turns(text)]


def _turns(text: str) -> list[tuple[str, int, int]]:
    """(role, where its content begins, where it ends) of each turn; none where the text does not begin with one."""
    marks = list(_TURN.finditer(text))
    if not marks or marks[0].start() != 0:
        return []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [(ROLES[mark[1]], mark.end(), end) for mark, end in zip(marks, ends, strict=True)]
