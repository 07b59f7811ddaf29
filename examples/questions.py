"""A dataset and a reward in one file, for `[prompts] dataset` and for the reward `function`."""

from __future__ import annotations

import rlaif_core as rl

OPEN = ("Please book me a table.", "How far is it?", "Which one should I take?", "Can you fix it for me?")
CLEAR = ("How many days has a week?", "What is the capital of France?", "Is ice colder than steam?", "Say hello.")


def questions() -> list[dict[str, object]]:
    """Rows with what the reward needs to know beside the prompt: whether something is missing from the question."""
    return [{"prompt": text, "open": text in OPEN} for text in (*OPEN, *CLEAR)]


def asks_back(prompt: rl.Prompt, completion: str) -> rl.Score:
    """1 for asking back where the question is open, or for not doing so where it is clear."""
    asked = completion.rstrip().endswith("?")
    return rl.Score(float(asked == prompt.meta["open"]), "asks back" if asked else "does not ask back")
