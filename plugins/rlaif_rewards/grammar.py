"""Errors of spelling and grammar."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rlaif_core import Abstain, ConfigError, Outcome, Prompt, Rollouts, Score
from rlaif_rewards.language import Language, native, needs_grammar
from rlaif_rewards.proofreading import Error, Kind, Tongue, counted, proofreader
from rlaif_rewards.prose import MOST, paragraphs, prose, spelled

FIRST = 3
"""Errors that a reason shows."""


class Grammar:
    """Penalty for errors: -(errors a word) / `worst`, at least -1; 0 where there is none.

    At `worst` = 0.2, one error in five words costs as much as can be. `kinds` says what counts: "spelling" and
    "grammar" (the default of English), "punctuation", "capitals", "style". English is checked by Harper: "en" allows
    the spellings of any dialect, "en-US", "en-GB", "en-AU", "en-CA" and "en-IN" one's own only. Of other languages
    ("de", "fr", ...) only the spelling is, by lists of words that lack many compounds. Names, acronyms, code,
    formulas, addresses, tables, the words of the prompt and those in `allow` are no misspellings, nor is the one word
    in twenty that resembles no other (a term). Lines in another language are left out; where nothing else is left, or
    no word at all, there is no opinion. A line is in another language where most of its letters are of another
    script, or where the frequent words of another cover most of it, and a quarter more than those of `language`.
    Gibberish is in none, and is full of errors.
    """

    def __init__(
        self,
        language: Tongue = "en",
        kinds: tuple[Kind, ...] = (),
        allow: tuple[str, ...] = (),
        worst: float = 0.2,
    ) -> None:
        if not 0 < worst <= 1 or not math.isfinite(worst):
            raise ConfigError(f"grammar: worst is {worst:g}, but must be errors a word, above 0 and at most 1")
        english = language[:2] == "en"
        if not english and set(kinds) - {"spelling"}:
            raise ConfigError(
                f"grammar: of {language!r} only the spelling can be checked; drop kinds, or set language to 'en'"
            )
        self.kinds = kinds or (("spelling", "grammar") if english else ("spelling",))
        self.language: Language = "en" if english else language  # type: ignore[assignment]
        self.worst = worst
        self._allowed = frozenset(word.lower() for text in allow for word in spelled(text))
        if empty := [text for text in allow if not spelled(text)]:
            raise ConfigError(f"grammar: allow holds {empty[0]!r}, which is no word")
        try:
            self._proofread = proofreader(language, self.kinds)
            import spellchecker  # noqa: F401  languages are told apart by it
        except ImportError:
            raise needs_grammar("grammar") from None

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        return [self._outcome(*pair) for pair in zip(rollouts.prompts, rollouts.completions, strict=True)]

    def _outcome(self, prompt: Prompt, completion: str) -> Outcome:
        text, other = native(prose(completion), self.language)
        words = len(spelled(text))
        if not words:
            return Abstain(f"it is in {other}" if other else "it holds no words to check")
        known = self._allowed | _words(prompt)
        found = (error for paragraph in paragraphs(text) for error in self._proofread(paragraph, known))
        errors = counted(found, words)
        value = -min(len(errors) / words / self.worst, 1.0) if errors else 0.0
        return Score(value, f"{_told(errors)} in {words} words{_left_out(completion, other)}")


def _words(prompt: Prompt) -> set[str]:
    texts = [prompt.text, *(message["content"] for message in prompt.messages)]
    return {word.lower().removesuffix("'s") for text in texts for word in spelled(text[:MOST])}


def _told(errors: Sequence[Error]) -> str:
    if not errors:
        return "no errors"
    shown = ", ".join(str(error) for error in errors[:FIRST])
    return f"{len(errors)} errors, as {shown}," if len(errors) > 1 else f"1 error, {shown},"


def _left_out(completion: str, other: str) -> str:
    notes = [f"; lines in {other} left out"] if other else []
    if len(completion) > MOST:
        notes.append(f"; {len(completion) - MOST} characters were not read")
    return "".join(notes)
