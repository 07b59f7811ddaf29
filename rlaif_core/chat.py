"""Between texts and tokens: chat templates, control tokens, and the end of a sequence.

Text that people or models wrote never becomes a control token: where a message holds the text of one, it is tokenised
apart from the template, that text in pieces. A role, or what else a template may write, is refused if it becomes one.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jinja2

from rlaif_core.errors import ConfigError, DataError
from rlaif_core.types import Message, Prompt

ROLES = frozenset({"system", "user", "assistant", "tool", "developer", "function", "observation"})
"""Roles whose control tokens are meant, however a template writes them."""


class Chat:
    """A tokeniser with its chat template; `ends` are the ids that end an answer, `pad` is never attended to."""

    def __init__(
        self, tokenizer: Any, generation: Any, *, use_template: bool | None = None, eos: str | None = None
    ) -> None:
        self.tokenizer = tokenizer
        if use_template and not tokenizer.chat_template:
            raise ConfigError("[policy] chat is true, but the tokenizer has no chat template; set chat = false")
        self.use_template = bool(tokenizer.chat_template) if use_template is None else use_template
        self.ends = frozenset(_ends(tokenizer, generation, eos))
        self._special, self._controls = _controls(tokenizer)
        self._forbidden = frozenset(self._controls.values()) - _unknown(tokenizer, self.ends)
        self._beginning = _beginning(tokenizer)
        self.end = self._closing(tokenizer.convert_tokens_to_ids(eos) if eos else tokenizer.eos_token_id)
        self.pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.end

    def encode(self, prompt: Prompt) -> list[int]:
        """The tokens that the policy continues: the rendered template up to its answer, or the plain text."""
        if prompt.messages and not self.use_template:
            raise ConfigError(
                f"prompt {prompt.id!r} is a chat, but "
                + ("chat = false" if self.tokenizer.chat_template else "the tokenizer has no chat template")
                + "; give plain texts or a model with a template"
            )
        if self.use_template:
            ids = self._rendered(prompt, _messages(prompt))
        else:
            ids = [*self._beginning, *self._plain(prompt.text, self._controls)]
        if not ids:
            raise DataError(f"prompt {prompt.id!r} has no tokens; nothing to continue")
        return ids

    def encode_answer(self, text: str) -> list[int]:
        """A recorded answer and the end of the sequence, to be put behind `encode(prompt)`: no second beginning."""
        return [*self._plain(text, self._special), self.end]

    def turn(self, prompt: Prompt, turn: str, *, ended: bool) -> list[int]:
        """The tokens between an answer and the next: the old one's end (unless `ended`), the user's turn, the cue."""
        if not self.use_template:
            raise ConfigError("a conversation of several turns needs a chat template")
        mark = _mark()
        said = (*_messages(prompt), {"role": "assistant", "content": mark}, {"role": "user", "content": turn})
        ids = self._rendered(prompt, said, after=mark)
        return ids[1:] if ended and ids and ids[0] in self.ends else ids

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of an answer, without control tokens and without its end."""
        said = [token for token in tokens if token not in self.ends]
        text: str = self.tokenizer.decode(said, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def spell(self, tokens: Sequence[int]) -> str:
        """The text of tokens with every control token written out."""
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def _rendered(self, prompt: Prompt, messages: Sequence[Message], after: str | None = None) -> list[int]:
        """Tokens of the rendered template (from behind the text `after` on), hostile contents kept plain."""
        contents: dict[str, str] = {}
        safe = [self._guarded(prompt, message, contents) for message in messages]
        text = self._text(prompt, safe)
        self._check_words(prompt, safe, text)
        if after is not None:
            text = text.partition(after)[2]
        ids: list[int] = []
        while contents:
            mark, content = min(contents.items(), key=lambda item: text.find(item[0]) % (len(text) + 1))
            before, found, rest = text.partition(mark)
            contents.pop(mark)
            if found:
                ids += self._template(before) + self._plain(content, self._controls)
                text = rest
        return ids + self._template(text)

    def _text(self, prompt: Prompt, messages: Sequence[Message]) -> str:
        try:
            text: str = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except jinja2.TemplateError as error:
            raise DataError(f"prompt {prompt.id!r}: the model's chat template refuses it: {error}") from error
        return text

    def _guarded(self, prompt: Prompt, message: Message, contents: dict[str, str]) -> Mapping[str, str]:
        for key, value in message.items():
            if key != "content" and self._holds_control(str(value)):
                raise DataError(f"prompt {prompt.id!r}: the {key} of a message holds a control token: {value!r}")
        if not self._holds_control(message["content"]):
            return dict(message)
        mark = _mark()
        contents[mark] = message["content"]
        return {**message, "content": mark}

    def _holds_control(self, text: str) -> bool:
        """By its letters or, since a tokeniser may take other letters for the same ones, by its tokens."""
        return any(control in text for control in self._controls) or bool(self._counted(text))

    def _check_words(self, prompt: Prompt, messages: Sequence[Message], text: str) -> None:
        """Raise where `text`, the rendered messages, has control tokens that come of a word: "end" in `<|` role `|>`.

        They are those that are gone once all words that the template does not know are replaced by one of no meaning.
        """
        words = [{key: value for key, value in message.items() if self._is_free(key, value)} for message in messages]
        if not any(words):
            return
        mark = _mark()
        blank = [{**message, **dict.fromkeys(free, mark)} for message, free in zip(messages, words, strict=True)]
        try:
            made = self._counted(text) - self._counted(self._text(prompt, blank))
        except DataError:  # it takes no word of no meaning, so it knows the ones that it took
            return
        if made:
            blamed = dict.fromkeys(f"{key} {value!r}" for free in words for key, value in free.items())
            raise DataError(
                f"prompt {prompt.id!r}: with the {' and the '.join(blamed)} of its messages the chat template writes "
                f"the control token {self.spell([min(made)])!r}; rename or leave out what does"
            )

    def _is_free(self, key: str, value: Any) -> bool:
        """Whether it is a word that a template may write but does not itself name (as in `role == 'observation'`)."""
        if key == "content" or not isinstance(value, str) or (key == "role" and value in ROLES):
            return False
        template = _template_of(self.tokenizer)
        return f"'{value}'" not in template and f'"{value}"' not in template

    def _counted(self, text: str) -> Counter[int]:
        return Counter(token for token in self._template(text) if token in self._forbidden)

    def _template(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=False).input_ids)

    def _plain(self, text: str, controls: Mapping[str, int]) -> list[int]:
        """Tokens of a text, none of them among `controls`."""
        ids = list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)
        if set(ids).isdisjoint(controls.values()):
            return ids
        # Not every tokeniser splits every control token; what is cut in two within each is none.
        cuts = sorted({at + 1 for control in controls for at in _places(control, text)})
        if not cuts:
            return [token for token in ids if token not in controls.values()]
        pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        return [token for piece in pieces for token in self._plain(piece, controls)]

    def _closing(self, end: int | None) -> int:
        """The id that ends a recorded answer: the one the template puts there, if it is an end, or the tokeniser's."""
        if self.use_template and len(self.ends) > 1:
            mark = _mark()
            said = ({"role": "user", "content": "a"}, {"role": "assistant", "content": mark})
            try:
                ids = self._rendered(Prompt(id="closing", messages=said), said, after=mark)
            except DataError:
                ids = []
            if ids and ids[0] in self.ends:
                return ids[0]
        return end if end is not None else min(self.ends)


def _messages(prompt: Prompt) -> Sequence[Message]:
    return prompt.messages or ({"role": "user", "content": prompt.text},)


def _mark() -> str:
    return f"mark{secrets.token_hex(16)}"


def _places(part: str, text: str) -> Iterable[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


def _controls(tokenizer: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Text -> id of the tokens that no text may become: the special ones; these and those that the template writes."""
    every = {token.content: number for number, token in tokenizer.added_tokens_decoder.items()}
    named = {text: tokenizer.convert_tokens_to_ids(text) for text in tokenizer.all_special_tokens}
    special = named | {t.content: n for n, t in tokenizer.added_tokens_decoder.items() if t.special}
    template = _template_of(tokenizer)
    written = {text: number for text, number in every.items() if text in template and not text.isspace()}
    return special, special | written


def _template_of(tokenizer: Any) -> str:
    """Everything that its templates say, where there are several by name; "" where there is none."""
    template = tokenizer.chat_template or ""
    return "\n".join(template.values()) if isinstance(template, Mapping) else str(template)


def _unknown(tokenizer: Any, ends: frozenset[int]) -> frozenset[int]:
    """The token of unknown letters, which any text may hold; unless, as with GPT-2, it is a control token as well."""
    return frozenset({tokenizer.unk_token_id}) - ends - {tokenizer.bos_token_id, tokenizer.pad_token_id}


def _beginning(tokenizer: Any) -> list[int]:
    """What the tokeniser puts before every text."""
    alone = list(tokenizer("a", add_special_tokens=False).input_ids)
    ids = list(tokenizer("a").input_ids)
    starts = [at for at in range(len(ids)) if ids[at : at + len(alone)] == alone]
    return ids[: starts[0]] if starts else []


def _ends(tokenizer: Any, generation: Any, eos: str | None) -> list[int]:
    """Every id that ends an answer: the tokeniser's, and all those of the generation config."""
    if eos is not None:
        if eos not in tokenizer.get_vocab():
            raise ConfigError(f"[policy] eos = {eos!r} is not a token of the tokenizer")
        return [tokenizer.convert_tokens_to_ids(eos)]
    configured = getattr(generation, "eos_token_id", None)
    ends = configured if isinstance(configured, list) else [configured]
    known = [identity for identity in (tokenizer.eos_token_id, *ends) if identity is not None]
    if not known:
        raise ConfigError(
            "the tokenizer names no end-of-sequence token, so no answer would ever end; "
            'set [policy] eos = "..." to the token that ends an answer'
        )
    return known
