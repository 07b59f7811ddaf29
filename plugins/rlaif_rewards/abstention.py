"""When an answer admits that it does not know, or declines: by patterns that anybody can read and extend.

An admission is undone by a claim beside it: "I do not know, but it is Paris" says Paris. A classifier or a judge can
take the place of the patterns where an answer is not English.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal

import regex

from rlaif_core import ConfigError
from rlaif_rewards.sentences import sentences
from rlaif_rewards.words import canonical

Stand = Literal["claims", "abstains", "hedges"]
"""What an answer does: it commits itself; it abstains; or it says that it does not know, and claims something still."""

_I = r"\b(?:i|we)\b(?: (?:really|honestly|simply|just|actually|still|currently|personally|truly|also|therefore))*"
_NOT = r"(?:do not|don['’]?t|did not|didn['’]?t|cannot|can not|can['’]?t|could not|couldn['’]?t|would not|wouldn['’]?t)"
_HELP = (
    r"(?:provide|help|assist|offer|give|support|fulfil|engage|comply|condone|encourage|promote|recommend|share|discuss|"
    r"write|create|generate|answer|suggest|comment|advise|advocate|endorse|speculate|satisfy|teach|tell|explain|respond|"
    r"do (?:that|this))"
)
IGNORANCE: tuple[str, ...] = (
    rf"{_I} {_NOT} (?:really |even |yet |exactly |currently )?(?:know\b|recall|remember|say\b|tell\b|determine|answer|"
    r"guess|find (?:any|the|that|an)|be (?:sure|certain))",
    rf"{_I} {_NOT} (?:currently )?have (?:an?y? |enough |sufficient |the |that |specific |real-time |personal )*"
    r"(?:access|information|knowledge|data|idea|clue|answer|opinions?|evidence|details|context|capability|ability)",
    r"\b(?:i|we) ?(?:am|are|['’]m|['’]re|was|were) (?:really |honestly |just |still )?(?:not (?:really |entirely |"
    r"quite |completely |so |too |very )?(?:sure|certain|aware|familiar)|unsure|uncertain|unaware|unfamiliar)\b",
    r"\b(?:i|we) ?(?:am|are|['’]m|['’]re) (?:not able|unable) to (?:say|determine|find|know|verify|confirm)",
    r"\b(?:have|had|['’]ve|got) (?:absolutely )?(?:no|not the (?:slightest|faintest)) (?:idea|clue|comment|opinion|"
    r"knowledge|information|way (?:of|to)|answer)",
    r"^(?:no idea|no clue|no comment|not sure|unsure|unknown|unclear|unanswerable|n/a|dunno|idk)\b",
    r"\b(?:is|are|remains?|was|were) (?:currently |still |generally |largely |simply )*(?:unknown|unclear|uncertain|"
    r"unknowable|not (?:yet )?known)\b",
    r"\bthere (?:is|are) (?:simply |currently )?no (?:way (?:to|of) (?:know|tell|say|determin)|information|"
    r"definit\w+ answer)",
    r"\b(?:it is|it['’]s) (?:simply |currently )?(?:impossible|not possible|hard|difficult|too early) (?:for me )?to "
    r"(?:know|say|tell|determine|answer|predict)\b",
    r"\b(?:cannot|can not|can['’]?t|could not|couldn['’]?t) be (?:known|determined|answered|verified|predicted)",
    r"\b(?:nobody|no one|no-one) (?:really |actually |currently )?(?:knows|can (?:say|tell|know))",
    r"\b(?:not enough|insufficient|lack of) (?:information|evidence|context|data)\b",
    r"\b(?:beyond|outside) (?:my|our|human) knowledge\b",
)
"""Admissions of ignorance, as patterns over the canonical sentence (lower case, one blank between words)."""

REFUSALS: tuple[str, ...] = (
    r"\b(?:i|we)\b.{0,40}?\b(?:cannot|can not|can['’]?t|could not|couldn['’]?t|will not|won['’]?t|would not|"
    r"wouldn['’]?t|must decline|must refuse|decline|refuse|do not|don['’]?t|should not|shouldn['’]?t) (?:to |"
    rf"in good conscience |be able to |ethically |possibly |feel comfortable )*{_HELP}\b",
    r"\b(?:i|we) ?(?:am|are|['’]m|['’]re) (?:just |simply |afraid )?(?:not (?:able|going|comfortable|programmed|"
    rf"allowed|capable|designed|in a position)|unable|programmed not) (?:to |of |with )?{_HELP}",
    r"\b(?:i|we) ?(?:am|['’]m) (?:very |so |really |truly )?sorry,? but\b",
    r"\bi (?:must |do )?apologi[sz]e,? but\b",
    r"^(?:sorry|apologies),? (?:but |i )",
    r"\bi(?: would|['’]d)? (?:rather|prefer) not\b",
    r"\b(?:it is|it['’]s|it would be) (?:not |never )(?:appropriate|ethical|acceptable)\b",
    r"\bi (?:do not|don['’]?t) (?:think|believe) (?:it is|it['’]s) (?:appropriate|ethical|acceptable)\b",
)
"""Refusals to answer, over the canonical sentence as well."""

LONGEST = 1000
"""Characters of a sentence that are looked at; what says more has said something."""
MOST = 200
"""Different sentences that are looked at."""

_COURTESY = regex.compile(
    r"^(?:but |so |and |or |well |hmm |um )*(?:sorry|my apologies|apologies|i apologi[sz]e|i(?: am|['’]m) "
    r"(?:very |so |truly )?(?:sorry|afraid)|unfortunately|regrettably|honestly|frankly|to be (?:honest|frank)|"
    r"as an? (?:ai|language|assistant)|i(?: am|['’]m) (?:just |only )?an? (?:ai|language|assistant|artificial)|"
    r"please|let me know|if you|could you|can you|would you|you (?:may|might|could|can|should|would)|"
    r"i (?:would |can |could |['’]d )?(?:recommend|suggest|advise)|"
    r"for (?:more|further|up-to-date)|feel free|thank|thanks|i hope|i wish|good question|great question|hello|hi)\b"
)
_TURN = regex.compile(
    r"\b(?:but|however|though|although|still|yet|nevertheless|nonetheless|my (?:best )?guess)\b[,:]?(.*)"
)
_BREAK = regex.compile(
    r"^\s*(?:[,;:]|[-–—]+)\s*(?!(?:as|because|since|so|and (?:i|we)|or|nor|given|due|until|unless|if|which|where|who|"
    r"sir|madam|my friend)\b)(.*)"
)
_AFORE = regex.compile(
    r"^(?:based|without|with|from|given|as|in|on|at|for|since|because|due|although|though|while|after|before|to|of|"
    r"according|despite|if|when|well|hmm|um|ah|oh|okay|ok|no|however|but|so|and|currently|therefore|thus)\b"
)
_JOINED = regex.compile(r"(?:\s*(?:[,;:]|[-–—]+|\b(?:but|though|although|however|and|still|yet)\b))+\s*$")


@cache
def _compiled(patterns: tuple[str, ...]) -> tuple[regex.Pattern[str], ...]:
    return tuple(regex.compile(pattern) for pattern in patterns)


def checked_patterns(patterns: Sequence[str]) -> tuple[str, ...]:
    """`patterns` as they are, or a ConfigError that names the one which is none."""
    for pattern in patterns:
        try:
            if regex.compile(pattern).fullmatch("") is not None:
                raise ConfigError(f"the pattern {pattern!r} fits an empty text, so every answer; say what it looks for")
        except regex.error as error:
            raise ConfigError(f"{pattern!r} is not a pattern: {error}") from None
    return tuple(patterns)


def admits(text: str, patterns: tuple[str, ...] = IGNORANCE + REFUSALS, *, within: int = 0) -> bool:
    """Whether one of the first `within` sentences (0: any) fits one of `patterns`, whatever else is said."""
    return any(_first(_read(sentence), patterns) for sentence in _looked_at(text)[: within or MOST])


def stand(text: str, patterns: tuple[str, ...] = IGNORANCE + REFUSALS) -> Stand:
    """What `text` does: "abstains" where it admits and all else is courtesy, "hedges" where it claims something beside,
    "claims" otherwise. Without a word, as without an admission, it commits itself to whatever silence is worth."""
    admitted = claimed = False
    for whole in _looked_at(text):
        sentence = _read(whole)
        found = _first(sentence, patterns)
        claimed |= len(whole) > LONGEST
        admitted |= found is not None
        if found is None:
            claimed |= not _polite(sentence)
        else:
            claimed |= _claims_around(sentence[: found.start()], sentence[found.end() :])
    return "claims" if not admitted else "hedges" if claimed else "abstains"


def _looked_at(text: str) -> list[str]:
    return list(dict.fromkeys(sentences(text)))[:MOST]


def _read(sentence: str) -> str:
    return canonical(sentence[:LONGEST])


def _first(sentence: str, patterns: tuple[str, ...]) -> regex.Match[str] | None:
    return next((found for pattern in _compiled(patterns) if (found := pattern.search(sentence))), None)


def polite(sentence: str) -> bool:
    """Whether a sentence is courtesy (an apology, an offer, advice to look elsewhere), and no claim."""
    return _polite(_read(sentence))


def _polite(words: str) -> bool:
    return words.endswith("?") or bool(_COURTESY.match(words))


def _claims_around(before: str, after: str) -> bool:
    """Whether the sentence says something besides, in front of the admission or behind it."""
    head = _JOINED.sub("", before)
    if head.strip() and head != before and not _AFORE.match(head.strip()) and not _polite(head.strip()):
        return True
    tails = [found[1] for found in (_BREAK.match(after), _TURN.search(after)) if found]
    said = [tail.strip(" .,;:!?-–—") for tail in tails]
    return any(tail and not _polite(tail) and _first(tail, IGNORANCE + REFUSALS) is None for tail in said)
