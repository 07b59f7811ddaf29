"""Words that an answer should use or avoid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import regex

from rlaif_core import ConfigError, Outcome, Rollouts, Score
from rlaif_rewards.words import LETTER, canonical

_LETTER = regex.compile(LETTER, regex.V1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keywords:
    """Share of the `want`ed words that occur, minus the share of the words to `avoid` that do: from -1 to 1.

    Only whole words and phrases count ("cat" is not in "concatenate"), whatever their case, width or invisible
    characters; Cyrillic and Greek letters that look Latin count as Latin. Saying a word twice earns nothing more.
    Alone it is easily gamed by a list of the wanted words: add a reward for what the answer says.
    """

    want: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.want and not self.avoid:
            raise ConfigError("keywords: give want or avoid, a list of words each")
        spelled: dict[str, str] = {}
        for word in (*dict.fromkeys(self.want), *dict.fromkeys(self.avoid)):
            if not canonical(word):
                raise ConfigError(f"keywords: {word!r} has no visible character")
            if (other := spelled.setdefault(canonical(word), word)) is not word:
                raise ConfigError(f"keywords: {other!r} and {word!r} are one word; give it once")

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        return [self._outcome(canonical(completion)) for completion in rollouts.completions]

    def _outcome(self, text: str) -> Score:
        used, broken = _present(self.want, text), _present(self.avoid, text)
        missing = [word for word in dict.fromkeys(self.want) if word not in used]
        value = _share(used, self.want) - _share(broken, self.avoid)
        told = (("uses", used), ("lacks", missing), ("uses the avoided", broken))
        return Score(value, "; ".join(f"{verb} {', '.join(its)}" for verb, its in told if its) or "uses none to avoid")


def _present(keywords: Sequence[str], text: str) -> list[str]:
    return [word for word in dict.fromkeys(keywords) if _whole(canonical(word)).search(text)]


def _share(some: Sequence[str], all_: Sequence[str]) -> float:
    return len(some) / len(set(all_)) if all_ else 0.0


def _whole(word: str) -> regex.Pattern[str]:
    """The word, with no letter beside it where it itself begins or ends with one."""
    before = rf"(?<!{LETTER})" if _LETTER.match(word[0]) else ""
    after = rf"(?!{LETTER})" if _LETTER.match(word[-1]) else ""
    return regex.compile(before + regex.escape(word) + after, regex.V1)
