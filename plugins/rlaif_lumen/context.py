"""What a conversation has come to: who "they" are, what was last claimed, what is asked. Syntax only, no truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rlaif_lumen.grammar import Claim, Message, Persona, Utterance
from rlaif_lumen.parse import read_persona, read_reply, read_utterance
from rlaif_lumen.world import Key


@dataclass(frozen=True, slots=True)
class Context:
    """State after the last user turn.

    `about` is what that turn asks about, names resolved as far as syntax goes ("they", "i mean ..."); `claim` is the
    one claim of the reply before it; `asked_back` the shared name whose clarification the last reply asked for.
    """

    persona: Persona | None = None
    utterance: Utterance | None = None
    about: Key = ("", "")
    subject: str = ""
    claim: Claim | None = None
    asked_back: str = ""

    def hear(self, text: str) -> Context:
        """The context after the user says `text`."""
        utterance = read_utterance(text)
        if utterance is None:
            return replace(self, utterance=None, about=("", ""))
        about, subject = (utterance.name, utterance.attribute), self.subject
        match utterance.kind:
            case "fact":
                subject = utterance.name
            case "unknown" | "ambiguous":
                subject = ""
            case "mean":
                about, subject = (utterance.name, self.about[1]), utterance.name
            case "follow":
                about = (self.subject, utterance.attribute)
        return replace(self, utterance=utterance, about=about, subject=subject)

    def say(self, text: str) -> Context:
        """The context after the reply `text`."""
        reply = read_reply(text)
        claim = reply.claims[0] if len(reply.claims) == 1 else None
        subject, asked_back = self.subject, ""
        if self.utterance and self.utterance.kind == "ambiguous":
            if claim and claim.name.split()[0] == self.utterance.name:
                subject = claim.name
            elif self.utterance.name in reply.asks_back:
                asked_back = self.utterance.name
        return replace(self, claim=claim, subject=subject, asked_back=asked_back)


def read_context(messages: Sequence[Message]) -> Context:
    """The context that `messages` lead to."""
    context = Context()
    for message in messages:
        match message["role"]:
            case "system":
                context = replace(context, persona=read_persona(message["content"]))
            case "user":
                context = context.hear(message["content"])
            case "assistant":
                context = context.say(message["content"])
    return context
