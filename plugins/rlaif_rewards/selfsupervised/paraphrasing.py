"""Paraphrases by rule: the same question in other words, whose answers must agree, whatever the right one is.

No model rewrites anything, so that no paraphrase can change the meaning: a question is put into a frame, or its parts
change places.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import regex

from rlaif_core import ConfigError
from rlaif_core.config import PromptTable
from rlaif_core.prompts import read_prompts

PLACE = "{question}"
FRAMES = (
    "Please answer this question. {question}",
    "I have a question. {question}",
    "{question} Please tell me.",
    "Question: {question}",
)
_SENTENCE = regex.compile(r"(?<=[.!?])\s+(?=\p{Lu})")
_POINTING = regex.compile(
    r"\b(?:he|her|him|his|it|its|she|that|their|them|then|there|these|they|this|those)\b", regex.I
)
"""What may point back to a condition, and would point nowhere before it."""
_CONDITION = regex.compile(r"(If [^,.!?]++), ([^.!?]++)\?")


def paraphrased(
    source: PromptTable, *, ways: int = 3, frames: tuple[str, ...] = FRAMES, reorder: bool = True, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """Rows `{id, prompt, question, paraphrase}`: each question of `source` in `ways` ways, neighbours of each other.

    `source` is a table as `[prompts]` is; of a chat the last message is put otherwise. The ways are: the question as it
    is; its parts in another order (`reorder`: "If A, B?" becomes "B if A?", unless B holds an "it" or "that" which may
    mean A, and a question behind its facts goes before them); and the `frames`, each a text with `{question}` in it.
    `question` holds the id that the ways of one question share and `paraphrase` their number, for the reward
    `paraphrase_agreement`. Questions come in an order that depends on `seed`: with `[prompts] shuffle = false` and a
    `batch` that is a multiple of `ways`, the ways of a question meet in one batch. A question that cannot be put in so
    many ways is left out.
    """
    if ways < 2:
        raise ConfigError(f"paraphrased: ways is {ways}, but must be 2 or more, for their answers are compared")
    for frame in frames:
        if PLACE not in frame:
            raise ConfigError(f"paraphrased: frame {frame!r} does not say where the question goes; write {PLACE} in it")
    prompts = list(read_prompts(source))
    Random(f"{seed}/paraphrased").shuffle(prompts)
    for prompt in prompts:
        texts = [prompt.text, *(_reordered(prompt.text) if reorder else ())]
        texts = list(dict.fromkeys([*texts, *(frame.replace(PLACE, prompt.text) for frame in frames)]))[:ways]
        if len(texts) < ways:
            continue
        for number, text in enumerate(texts):
            asked = [*prompt.messages[:-1], {**prompt.messages[-1], "content": text}] if prompt.messages else text
            yield {"id": f"{prompt.id}/{number}", "prompt": asked, "question": prompt.id, "paraphrase": number}


def _reordered(text: str) -> list[str]:
    """The text with its parts in another order that means the same, if one of the rules applies."""
    if found := _CONDITION.fullmatch(text):
        condition, question = found.groups()
        if _POINTING.search(question):
            return []
        return [f"{_begun(question)} {condition[0].lower()}{condition[1:]}?"]
    *facts, question = _SENTENCE.split(text)
    if facts and question.endswith("?") and not any(fact.endswith("?") for fact in facts):
        return [" ".join([question, *facts])]
    return []


def _begun(text: str) -> str:
    return text[:1].upper() + text[1:]
