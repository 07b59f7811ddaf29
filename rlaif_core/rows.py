"""Rows of a dataset into `Prompt`s, whatever shape of the ecosystem they have; what is wrong is told by row and column.

The format in which a dataset records answers is found in its first row, or given, and every other row is held to it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from rlaif_core.config import PromptTable
from rlaif_core.errors import DataError, suggest
from rlaif_core.recordings import FORMATS, Format, check_message, format_of, read
from rlaif_core.transcripts import messages_of, parted
from rlaif_core.types import Prompt

Row = Mapping[str, Any]
Form = Format | Literal["prompt"]
COLUMNS = ("prompt", "messages", "text")
"""Where a prompt is looked for, unless `[prompts] column` says where it is."""


class Reader:
    """What `[prompts]` says about rows, applied to one after the other; `where` names a row in complaints.

    `change` may rewrite a row, or leave it out by returning None.
    """

    def __init__(
        self,
        table: PromptTable,
        change: Callable[..., Any] | None = None,
        where: Callable[[int, Any], str] | None = None,
    ) -> None:
        self.table, self.change, self.where = table, change, where or (lambda number, _: f"row {number}")
        self.left_out = self.broken = 0
        self.first_broken = ""
        self._form: Form | None = None
        self._chat: bool | None = None

    def read(self, rows: Iterable[Row | Prompt]) -> Iterator[Prompt]:
        """The prompts, in the order of the rows and no more than `limit`."""
        kept = 0
        for number, row in enumerate(rows):
            changed = self.change(dict(row)) if self.change and not isinstance(row, Prompt) else row
            if changed is None:
                self.left_out += 1
                continue
            try:
                prompt = self._alike(changed if isinstance(changed, Prompt) else self._prompt(changed, number))
            except DataError as error:
                told = f"{self.where(number, row)}: {error}"
                if self.table.broken == "refuse":
                    raise DataError(f"{told}{self._advice()}") from error
                self.broken, self.first_broken = self.broken + 1, self.first_broken or told
                continue
            kept += 1
            yield prompt
            if kept == self.table.limit:
                break
        if self.broken:
            which = "1 row was" if self.broken == 1 else f"{self.broken} rows were"
            sys.stderr.write(f"warning: {which} left out. The first: {self.first_broken}\n")

    def lost(self) -> str:
        """Why there may be no prompt among the rows, to be put behind "no rows"."""
        reasons = (("map left out all {} rows", self.left_out), ("{} rows cannot be used", self.broken))
        return "".join(f"; {reason.format(count)}" for reason, count in reasons if count)

    def _advice(self) -> str:
        said = '. Mend the row, or leave out what cannot be used with [prompts] broken = "skip"'
        only = self._form not in (None, "prompt") and self.table.format is None
        return said + ('; with format = "prompt" the answers are not looked at' if only else "")

    def _prompt(self, row: Any, number: int) -> Prompt:
        if not isinstance(row, Mapping):
            raise DataError(f"it is a {type(row).__name__}, but must be a mapping from column to value")
        if odd := [name for name in row if not isinstance(name, str)]:
            raise DataError(f"it has a column called {odd[0]!r}; the name of a column is a text")
        meta = self._renamed(row)
        identity = self._identity(meta, number)
        name = next((it for it in ([self.table.column] if self.table.column else COLUMNS) if it in meta), None)
        value = self._asked(meta, name) if name else None
        form = self._form_of(meta)
        if name is None:
            value = self._implicit(meta)
        prompt = Prompt(id=identity, **self._as_asked(value, name or "chosen"), meta=meta)
        if form != "prompt":
            read(prompt, form)
        return prompt

    def _renamed(self, row: Row) -> dict[str, Any]:
        """The row's columns, those of recorded answers under the names that all know them by."""
        ours = self.table.columns
        for theirs in ours.values():
            if theirs not in row:
                raise DataError(f"no column {theirs!r}{suggest(theirs, row) or '.'} Columns: {', '.join(row)}")
        taken = {*ours, *ours.values()}
        meta = {name: value for name, value in row.items() if name not in taken}
        meta.update((name, row[theirs]) for name, theirs in ours.items())
        return meta

    def _identity(self, meta: dict[str, Any], number: int) -> str:
        key = self.table.id or "id"
        if self.table.id is not None and key not in meta:
            raise DataError(f"no id column {key!r}. Columns: {', '.join(meta)}")
        given = meta.pop(key, None)
        identity = f"row-{number}" if given is None else str(given)
        if not identity:
            raise DataError(f"column {key!r} is empty; give every row an id, or leave the column out")
        return identity

    def _asked(self, meta: dict[str, Any], name: str) -> Any:
        """What the column of the prompt holds, taken out of `meta`: a text or messages.

        A whole conversation ends with the assistant's message, which is taken for a recorded answer where there is
        no other.
        """
        value = meta.pop(name)
        if self.table.transcripts and isinstance(value, str) and (turns := messages_of(value)):
            value = turns
            for column in ("chosen", "rejected", "completion"):
                if isinstance(meta.get(column), str):
                    meta[column] = meta[column].strip()
        if not _is_chat(value):
            return value
        messages = [check_message(message, f"column {name!r}") for message in value]
        if messages[-1]["role"] != "assistant":
            return messages
        if len(messages) == 1:
            raise DataError(f"column {name!r} holds an answer alone, and no message before it; there is no prompt")
        if name == "prompt":
            raise DataError(
                f"column {name!r} ends with the assistant's message, but a prompt ends with the user's; a whole "
                "conversation, the answer included, belongs into a column 'messages'"
            )
        answer = messages.pop()["content"]
        if not answer.strip():
            raise DataError(f"column {name!r} ends with an empty message of the assistant's; cut it off")
        if format_of(meta) is None:
            meta["completion"] = answer
        return messages

    def _form_of(self, meta: dict[str, Any]) -> Form:
        """The format of the answers. Where it was given, columns that others would take for another's are dropped."""
        if self._form is None:
            self._form = self.table.format or format_of(meta) or "prompt"
        if self._form == "prompt":
            return self._form
        needed, order = FORMATS[self._form], list(FORMATS)
        for name in needed:
            if name not in meta:
                if name == "completion" and not self.table.format:
                    raise DataError(
                        "it records no answer, as the rows before it do: neither in a column 'completion' "
                        "nor by a last message of the assistant's"
                    )
                raise DataError(
                    f"no column {name!r}, but answers are recorded as {' and '.join(needed)}"
                    f"{suggest(name, meta) or '.'} Columns besides the prompt: {', '.join(meta) or 'none'}"
                )
        for other in order[: order.index(self._form)] if self.table.format else ():
            if format_of(meta) == other:
                for name in {*FORMATS[other]} - {*needed}:
                    del meta[name]
        return self._form

    def _implicit(self, meta: dict[str, Any]) -> Any:
        """The prompt that only the beginning of both answers of a pair holds."""
        if self.table.column or not {"chosen", "rejected"} <= {*meta}:
            wanted = self.table.column or COLUMNS[0]
            raise DataError(f"no column {wanted!r}{suggest(wanted, meta) or '.'} Columns: {', '.join(meta)}")
        prompt, chosen, rejected = parted(meta["chosen"], meta["rejected"], chat=self.table.transcripts)
        meta |= {"chosen": chosen, "rejected": rejected}
        return prompt

    def _as_asked(self, value: Any, name: str) -> dict[str, Any]:
        """The text or the messages of a prompt, with the system message of the config."""
        system = [{"role": "system", "content": self.table.system}] if self.table.system else []
        if isinstance(value, str) and value:
            return {"text": value, "messages": (*system, {"role": "user", "content": value}) if system else ()}
        if not _is_chat(value):
            kind = "is null" if value is None else "is empty" if value in ("", []) else f"is a {type(value).__name__}"
            raise DataError(f"column {name!r} {kind}; a prompt is a text or a list of chat messages")
        if system and any(message["role"] == "system" for message in value):
            raise DataError(
                "its messages have a system message of their own; leave out [prompts] system, or take the message from "
                "the row with [prompts] map"
            )
        return {"messages": (*system, *value)}

    def _alike(self, prompt: Prompt) -> Prompt:
        """The prompt, which must be a plain text if the first one was, or a chat if that was one."""
        chat = bool(prompt.messages)
        if self._chat is None:
            self._chat = chat
        elif chat != self._chat:
            raise DataError(
                f"the dataset mixes plain texts and chat messages (prompt {prompt.id!r} differs from the first); use "
                "one kind"
            )
        return prompt


def content(prompt: Prompt) -> bytes:
    """Everything that a prompt holds, the same in every process, to be hashed."""
    messages = [[message["role"], message["content"]] for message in prompt.messages]
    return json.dumps([prompt.id, prompt.text, messages, dict(prompt.meta)], default=_stable).encode()


def _stable(value: Any) -> Any:
    """What JSON has no word for, in one that is the same in every process: an address in memory is not."""
    for method in ("isoformat", "tolist", "hex"):
        if hasattr(value, method):
            return getattr(value, method)()
    return type(value).__name__


def _is_chat(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes) and len(value) > 0
