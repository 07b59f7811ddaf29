"""Between texts and tokens: chat templates, control tokens, and the end of a sequence.

Text that people or models wrote never becomes a control token: where a message holds the text of one, it is tokenised
apart from the template, with special tokens split into plain ones.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from rlaif_core.errors import ConfigError, DataError
from rlaif_core.types import Message, Prompt


class Chat:
    """A tokeniser with its chat template; `ends` are the ids that end an answer, `pad` is never attended to."""

    def __init__(self, tokenizer: Any, generation: Any, *, use_template: bool | None = None, eos: str | None = None) -> None:
        self.tokenizer = tokenizer
        if use_template and not tokenizer.chat_template:
            raise ConfigError("[policy] chat is true, but the tokenizer has no chat template; set chat = false")
        self.use_template = bool(tokenizer.chat_template) if use_template is None else use_template
        self.ends = frozenset(_ends(tokenizer, generation, eos))
        self.end = tokenizer.convert_tokens_to_ids(eos) if eos else tokenizer.eos_token_id
        if self.end is None:
            self.end = min(self.ends)
        self.pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.end
        self._special = sorted(set(tokenizer.all_special_tokens) | set(tokenizer.get_added_vocab()), key=len)

    def encode(self, prompt: Prompt) -> list[int]:
        """The tokens that the policy continues: the rendered template up to its answer, or the plain text."""
        if prompt.messages and not self.use_template:
            raise ConfigError(
                f"prompt {prompt.id!r} is a chat, but "
                + ("chat = false" if self.tokenizer.chat_template else "the tokenizer has no chat template")
                + "; give plain texts or a model with a template"
            )
        if self.use_template:
            messages = prompt.messages or ({"role": "user", "content": prompt.text},)
            ids = self._rendered(messages)
        else:
            ids = list(self.tokenizer(prompt.text).input_ids)
            if len(ids) > 1 and ids[-1] in self.ends:
                ids.pop()  # some tokenisers end every text; a prompt goes on
        if not ids:
            raise DataError(f"prompt {prompt.id!r} has no tokens; nothing to continue")
        return ids

    def encode_answer(self, text: str) -> list[int]:
        """A recorded answer and the end of the sequence, to be put behind `encode(prompt)`: no second beginning."""
        return [*self._plain(text), self.end]

    def turn(self, prompt: Prompt, turn: str, *, ended: bool) -> list[int]:
        """The tokens between an answer and the next: the end of the old one (unless `ended`), the user's turn, the cue."""
        if not self.use_template:
            raise ConfigError("a conversation of several turns needs a chat template")
        mark = _mark()
        messages = prompt.messages or ({"role": "user", "content": prompt.text},)
        said: tuple[Message, ...] = (*messages, {"role": "assistant", "content": mark}, {"role": "user", "content": turn})
        ids = self._rendered(said, after=mark)
        return ids[1:] if ended and ids and ids[0] in self.ends else ids

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of an answer, without control tokens."""
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _rendered(self, messages: Sequence[Message], after: str | None = None) -> list[int]:
        """Tokens of the rendered template (from behind the text `after` on), hostile contents kept plain."""
        contents: dict[str, str] = {}
        safe = [self._guarded(message, contents) for message in messages]
        text: str = self.tokenizer.apply_chat_template(safe, tokenize=False, add_generation_prompt=True)
        if after is not None:
            text = text.partition(after)[2]
        ids: list[int] = []
        while contents:
            mark, content = min(contents.items(), key=lambda item: text.find(item[0]) % (len(text) + 1))
            before, found, rest = text.partition(mark)
            contents.pop(mark)
            if found:
                ids += self._template(before) + self._plain(content)
                text = rest
        return ids + self._template(text)

    def _guarded(self, message: Message, contents: dict[str, str]) -> Mapping[str, str]:
        content = message["content"]
        if not any(token in content for token in self._special):
            return dict(message)
        mark = _mark()
        contents[mark] = content
        return {**message, "content": mark}

    def _template(self, text: str) -> list[int]:
        if not text:
            return []
        return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=False).input_ids)

    def _plain(self, text: str) -> list[int]:
        if not text:
            return []
        return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)


def _mark() -> str:
    return f"mark{secrets.token_hex(16)}"


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
            "set [policy] eos = \"...\" to the token that ends an answer"
        )
    return known
