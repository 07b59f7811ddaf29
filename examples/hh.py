"""Rows of Anthropic's HH transcripts: opening questions as prompts, and pairs of a chosen and a rejected answer.

For `[prompts] map = "examples/hh.py:opening"` or `"examples/hh.py:pair"`. Both keep a third of the conversations for
whoever measures (`fold` says which third), and leave out what is too long for a small model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

Message = dict[str, str]

ROLES = {"Human": "user", "Assistant": "assistant"}
FOLDS = 3
LONGEST_OPENING = 300  # characters
LONGEST_PAIR = 800  # characters of the question and both answers


def turns(transcript: str) -> list[Message]:
    """The messages of one transcript, the last answer included."""
    parts = re.split(r"\n\n(Human|Assistant):", transcript)[1:]
    return [{"role": ROLES[who], "content": said.strip()} for who, said in zip(parts[::2], parts[1::2], strict=True)]


def opening(row: dict[str, Any], *, held_out: bool = False, fold: int = 0) -> dict[str, Any] | None:
    """{"messages": the first human turn}, of two conversations in three (`held_out`: of the third one)."""
    first = turns(row["chosen"])[:1]
    return {"messages": first} if _kept(row, held_out, fold) and _short(first, LONGEST_OPENING) else None


def pair(row: dict[str, Any], *, held_out: bool = False, fold: int = 0) -> dict[str, Any] | None:
    """{"messages", "chosen", "rejected"}: the last human turn and both answers to it, of as many conversations.

    Left out are the few rows that differ before the last answer.
    """
    (*before, chosen), (*same, rejected) = turns(row["chosen"]), turns(row["rejected"])
    if before != same or not before or chosen["role"] != "assistant":
        return None
    if not _kept(row, held_out, fold) or not _short([before[-1], chosen, rejected], LONGEST_PAIR):
        return None
    return {"messages": before[-1:], "chosen": chosen["content"], "rejected": rejected["content"]}


def _kept(row: dict[str, Any], held_out: bool, fold: int) -> bool:
    """Told apart by the first human turn, so that no conversation is on both sides."""
    first = turns(row["chosen"])[0]["content"]
    return held_out == (sum(first.encode()) % FOLDS == fold)


def _short(messages: Sequence[Message], most: int) -> bool:
    """Whether all of them say something, and together no more than `most` characters."""
    lengths = [len(message["content"]) for message in messages]
    return all(lengths) and sum(lengths) <= most
