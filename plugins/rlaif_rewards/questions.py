"""When an answer asks the user back: a question to the user that is what the answer does, by stated rules.

A question that the answer answers itself, and an offer of more at the end ("anything else?"), asks nothing. A
classifier or a judge can take the place of the rules.
"""

from __future__ import annotations

import regex

from rlaif_rewards.abstention import polite
from rlaif_rewards.sentences import sentences
from rlaif_rewards.words import canonical

LONGEST = 600
"""Characters of a question that is looked at; a longer one asks nothing that could be answered."""

MOST = 3
"""Questions that one would ask at once."""

_EXPLAINS = regex.compile(
    r"(?:there (?:are|is)|i (?:know|ask|need|want|see|can|could)|it could|it depends|this (?:will|would)|that way)\b"
)
"""How a statement behind a question begins that says what it is about, and does not answer it."""
_MARKED = regex.compile(r"[?？][\"'”’»)\]*\s]*$")
_OFFER = regex.compile(
    r"\banything else\b|\b(?:does|did|do) (?:that|this|these|it|you (?:see|understand|get it|agree))\b|"
    r"\b(?:can|may|could|shall|should|would you like me to|do you want me to|want me to) ?(?:i|we)?\b.{0,20}\b(?:help|"
    r"assist|continue|go on|explain|elaborate|tell you more)\b|\b(?:know|hear|learn) more\??$|\bisn['’]?t it\b|"
    r"\bright ?\?$|\bhow (?:are|can|may) (?:you|i|we)\b.{0,20}\b(?:doing|help|assist|today)\b|\bdon['’]?t you\b|"
    r"\bmake sense\b"
)
_ADDRESSED = regex.compile(
    r"\b(?:you|your|yours)\b|\b(?:what|which) (?:kind|type|sort|one|aspect|part|specific|version|model|year|brand|size|"
    r"language|country|city|state|area|person|book|film|movie|song|of (?:the|these|those|them))\b|\bdo i\b|"
    r"^(?:which|whose)\b|\bas in\b|^(?:is|are) (?:this|that|it|these|those) (?:for|about|the|in|on)\b"
)
_UNMARKED = regex.compile(
    r"^(?:and |so |ok |okay |well |sorry )*(?:(?:are|do|would|did|have|were|can|could|will) you\b"
    r"(?! (?:go|have it|are)\b)|(?:what|which|who|where|when|how)\b[^,;.]*\b(?:are|do|would|did|were|will) you\b|"
    r"want to (?:know|hear|see|find|learn)\b|(?:are you )?(?:looking|interested|searching) (?:for|in|to)\b|"
    r"which [^,;.]* do you\b)"
)
_CLARIFY = regex.compile(
    r"\b(?:please|(?:could|can|would) you|i(?:['’]d| would| do)? (?:need|want|like|ask)(?: you)?)\b.{0,30}\b(?:"
    r"clarif\w+|specify|be more specific|tell me (?:which|what)|say (?:which|what)|"
    r"provide (?:me with )?(?:more|some|additional|"
    r"further)|give (?:me )?more|(?:more|additional|further) (?:context|details?|information))\b|"
    r"\b(?:what|which) .{0,40}\bdo you mean\b|\bwhat do you mean\b"
)
"""A request to be clearer, whether or not it is put as a question."""


def is_question(sentence: str) -> bool:
    """Whether a sentence is marked as a question, whomever it asks."""
    return bool(_MARKED.search(sentence))


def asks(sentence: str, extra: tuple[str, ...] = ()) -> bool:
    """Whether one sentence asks the user something of which the answer could make use, or fits a pattern of `extra`."""
    if len(sentence) > LONGEST:
        return False
    said = canonical(sentence)
    if _CLARIFY.search(said) or any(regex.search(pattern, said) for pattern in extra):
        return True
    if _OFFER.search(said):
        return False
    if is_question(sentence) or said.endswith("?"):
        return bool(_ADDRESSED.search(said))
    return bool(_UNMARKED.match(said))


def asks_back(text: str, extra: tuple[str, ...] = ()) -> str:
    """The question that `text` asks the user, or "" where it does something else.

    It is the last of what is said, courtesies aside; more than `MOST` questions are a list of questions, and where more
    is stated than asked, the answer is an answer with a question behind it.
    """
    questions: list[str] = []
    statements = 0
    for sentence in sentences(text):
        if asks(sentence, extra):
            questions.append(sentence)
            if len(questions) > MOST:
                return ""
        elif not (is_question(sentence) or polite(sentence)):
            statements += 1
            if statements > MOST or (questions and not _EXPLAINS.match(canonical(sentence))):
                return ""  # it goes on to answer, or to something else
    return questions[-1] if questions and statements <= len(questions) else ""
