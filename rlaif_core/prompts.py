"""Datasets into batches of `Prompt`s, in an order that depends on the seed alone and can be taken up anywhere.

This is the only file that imports `datasets`.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from rlaif_core.config import PromptTable
from rlaif_core.errors import CheckpointError, ConfigError, DataError, PluginError, RlaifError, blame, suggest
from rlaif_core.malformed import KINDS, cache_refused, kind_of, matching, pattern, reason, where_broken
from rlaif_core.offers import load_attribute
from rlaif_core.options import plain
from rlaif_core.protocols import State
from rlaif_core.types import Prompt

Row = Mapping[str, Any]
COLUMNS = ("prompt", "messages", "text")
"""Where a prompt is looked for, unless `[prompts] column` says where it is."""
SAVED = ("dataset_info.json", "dataset_dict.json")
"""What `save_to_disk` leaves in the folder of a dataset, and of several by the names of their splits."""
INDEX = "__index_level_0__"
"""Where pandas puts the first field of a row that has more than the header: every other one is a column off."""


class Prompts:
    """An endless stream of batches: epoch after epoch, each freshly shuffled, nothing left out at the seams."""

    def __init__(self, prompts: Sequence[Prompt], *, seed: int, shuffle: bool = True) -> None:
        if not prompts:
            raise DataError("the dataset has no prompts; nothing to train on")
        first: dict[str, int] = {}
        for number, prompt in enumerate(prompts):
            if prompt.id in first:
                raise DataError(
                    f"rows {first[prompt.id]} and {number} share the id {prompt.id!r}; ids must be unique, "
                    "because seeds and the ledger go by them"
                )
            first[prompt.id] = number
        self.prompts = tuple(prompts)
        self._seed, self._shuffle = seed, shuffle
        self._taken = 0

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, count: int) -> list[Prompt]:
        """The next `count` prompts."""
        self.check(count)
        batch = [self._at(self._taken + offset) for offset in range(count)]
        self._taken += count
        return batch

    def check(self, count: int) -> None:
        """Raise unless there are `count` different prompts."""
        if count > len(self.prompts):
            raise DataError(
                f"[prompts] batch is {count}, but there are only {len(self.prompts)} prompts; lower batch or add rows"
            )

    def _at(self, position: int) -> Prompt:
        epoch, index = divmod(position, len(self.prompts))
        return self.prompts[self._order(epoch)[index]]

    def _order(self, epoch: int) -> list[int]:
        cached: tuple[int, list[int]] | None = getattr(self, "_cached", None)
        if cached is None or cached[0] != epoch:
            order = list(range(len(self.prompts)))
            if self._shuffle:
                random.Random(f"{self._seed}/prompts/{epoch}").shuffle(order)
            self._cached = cached = (epoch, order)
        return cached[1]

    @cached_property
    def fingerprint(self) -> str:
        """A hash over every prompt and its other columns, by which a resumed run knows its data again."""
        digest = hashlib.sha256()
        for prompt in self.prompts:
            messages = [[message["role"], message["content"]] for message in prompt.messages]
            row = [prompt.id, prompt.text, messages, dict(prompt.meta)]
            digest.update(json.dumps(row, default=_stable).encode())
        return digest.hexdigest()

    def state_dict(self) -> State:
        return {"taken": self._taken, "fingerprint": self.fingerprint}

    def load_state_dict(self, state: State) -> None:
        if state["fingerprint"] != self.fingerprint:
            raise CheckpointError(
                "the prompts are not those that the checkpoint was made with; restore the dataset, or start a new run"
            )
        self._taken = state["taken"]


def _stable(value: Any) -> Any:
    """What JSON has no word for, in one that is the same in every process: an address in memory is not."""
    for method in ("isoformat", "tolist", "hex"):
        if hasattr(value, method):
            return getattr(value, method)()
    return type(value).__name__


def load_prompts(table: PromptTable) -> list[Prompt]:
    """Read the rows that `[prompts]` describes and turn each into a `Prompt`."""
    source = ", ".join([table.files] if isinstance(table.files, str) else table.files) or table.dataset or ""
    with blame(f"[prompts] {source}"):
        change = load_function(table.map) if table.map else None
        try:
            return prompts_of(_rows(table, source), table, change)
        except UnicodeDecodeError as error:  # `datasets` looks at the bytes of a text only when it is asked for
            if where := where_broken(_there(table)):
                raise DataError(where) from error
            raise


def check_prompts(table: PromptTable) -> None:
    """See that the files and functions which `[prompts]` names are there, without reading a row."""
    with blame("[prompts]"):
        if table.map:
            load_function(table.map)
        if table.dataset and ":" in table.dataset:
            load_function(table.dataset)
        files = _there(table)
        if table.dataset is None:
            kind_of(files)


def prompts_of(
    rows: Iterable[Row | Prompt], table: PromptTable, change: Callable[..., Any] | None = None
) -> list[Prompt]:
    """Rows (or ready `Prompt`s) as prompts; `change` may rewrite a row, or leave it out by returning None."""
    if isinstance(rows, str | Mapping) or not _can_iterate(rows):
        raise DataError(
            f"the prompts are a {type(rows).__name__}, but must be a list (or other iterable) of rows, each a Prompt "
            "or a mapping from column to value; files are named in [prompts] files"
        )
    prompts: list[Prompt] = []
    skipped = 0
    for number, row in enumerate(rows):
        if table.limit is not None and len(prompts) >= table.limit:
            break
        changed = change(dict(row)) if change and not isinstance(row, Prompt) else row
        if changed is None:
            skipped += 1
        else:
            prompts.append(_prompt(changed, number, table))
    _same_kind(prompts)
    if not prompts:
        reason = f"; map left out all {skipped} rows" if skipped else ""
        raise DataError(f"the dataset has no rows{reason}; nothing to train on")
    return prompts


def _can_iterate(value: Any) -> bool:
    try:
        iter(value)  # which also does for what has no `__iter__`, as many a torch dataset
    except TypeError:
        return False
    return True


def load_function(path: str) -> Callable[..., Any]:
    """The function "module:name" or "file.py:name"."""
    target, _, name = path.rpartition(":")
    if not target.endswith(".py"):
        return _callable(load_attribute(path), path)
    from rlaif_core.plugins import module_of

    module = module_of(Path(target))
    if not hasattr(module, name):
        raise PluginError(f"{target} has no function {name!r}{suggest(name, vars(module))}")
    return _callable(getattr(module, name), path)


def _callable(value: Any, path: str) -> Callable[..., Any]:
    if not callable(value):
        raise PluginError(f"{path} is a {type(value).__name__}, not a function")
    return value  # type: ignore[no-any-return]


def _rows(table: PromptTable, source: str) -> Iterable[Row]:
    if table.dataset and ":" in table.dataset:
        return load_function(table.dataset)(**plain(table.options))  # type: ignore[no-any-return]
    if table.options:
        raise ConfigError("[prompts] options are for a dataset that is a function ('module:function')")
    files = _there(table)
    kind = table.dataset or kind_of(files)
    if not files and not table.dataset:
        raise ConfigError("[prompts] names neither files nor a dataset; say where the prompts are")
    import datasets

    previous = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        if len(files) == 1 and table.dataset is None and _saved(files[0]):
            return _part(datasets.load_from_disk(files[0]), table.split)
        if not files and _saved(kind):
            return _part(datasets.load_from_disk(kind), table.split)
        named = [pattern(file) for file in files] if _local(table) else files
        rows = datasets.load_dataset(kind, data_files=named or None, split=table.split)
    except Exception as error:  # whatever the reader met, say where in the file it is
        caches = (datasets.config.HF_DATASETS_CACHE, datasets.config.HF_CACHE_HOME)
        if refused := cache_refused(error, files, caches):
            raise RlaifError(refused) from error
        told = f"{source} cannot be loaded{f' as {kind}' if kind != source else ''}: {reason(error)}"
        raise DataError(where_broken(files) or told) from error
    finally:
        if previous:
            datasets.enable_progress_bars()
    if rows.info.builder_name == "csv" and INDEX in rows.column_names:
        told = f"{source}: the rows have more fields than the header names columns; name them all"
        raise DataError(where_broken(files) or told)
    return rows  # type: ignore[no-any-return]


def _saved(place: str) -> bool:
    """Whether it is a folder in which `save_to_disk` left a dataset."""
    return any(Path(place, name).exists() for name in SAVED)


def _part(saved: Any, split: str) -> Iterable[Row]:
    """What `split` names, slices included, of what was saved to disk; a dataset without splits is all "train"."""
    import datasets

    if alone := not isinstance(saved, datasets.DatasetDict):
        saved = dict.fromkeys(("train", str(saved.split or "train")), saved)  # its own name does as well
    wanted = split if split != "all" else "train" if alone else "+".join(saved)
    parts = datasets.ReadInstruction.from_spec(wanted).to_absolute({name: len(rows) for name, rows in saved.items()})
    return datasets.concatenate_datasets(  # type: ignore[no-any-return]
        [saved[part.splitname].select(range(part.from_, part.to)) for part in parts]
    )


def _local(table: PromptTable) -> bool:
    """Whether the files are looked for here; other datasets match patterns in a place of their own."""
    return table.dataset in (None, "json", *KINDS.values())


def _there(table: PromptTable) -> list[str]:
    """The files of the table; those that are no addresses must exist, and a pattern must match some."""
    files = [table.files] if isinstance(table.files, str) else table.files
    for file in files:
        if "://" in file:
            continue
        if "*" not in file and not Path(file).is_file() and not (_saved(file) and len(files) == 1):
            what = "is a folder, not a file" if Path(file).is_dir() else "there is no such file"
            raise DataError(f"{file}: {what} (looked in {Path.cwd()})")
        if _local(table) and not matching(file):
            raise DataError(f"{file}: no file matches this pattern (looked in {Path.cwd()})")
    return files


def _prompt(row: Any, number: int, table: PromptTable) -> Prompt:
    if isinstance(row, Prompt):
        return row
    if not isinstance(row, Mapping):
        raise DataError(f"row {number} is a {type(row).__name__}, but must be a mapping from column to value")
    column = next((name for name in ([table.column] if table.column else COLUMNS) if name in row), None)
    if column is None:
        wanted = table.column or COLUMNS[0]
        raise DataError(f"row {number} has no column {wanted!r}{suggest(wanted, row) or '.'} Columns: {', '.join(row)}")
    if table.id is not None and table.id not in row:
        raise DataError(f"row {number} has no id column {table.id!r}. Columns: {', '.join(row)}")
    key = table.id or "id"
    identity = str(row[key]) if row.get(key) is not None else f"row-{number}"
    if not identity:
        raise DataError(f"row {number}: column {key!r} is empty; give every row an id, or leave the column out")
    value = row[column]
    meta = {name: item for name, item in row.items() if name not in (column, key)}
    system = ({"role": "system", "content": table.system},) if table.system else ()
    if isinstance(value, str):
        if system:
            return Prompt(id=identity, text=value, messages=(*system, {"role": "user", "content": value}), meta=meta)
        return Prompt(id=identity, text=value, meta=meta)
    if isinstance(value, Sequence) and value:
        if system and any(isinstance(message, Mapping) and message.get("role") == "system" for message in value):
            raise DataError(
                f"prompt {identity!r} has a system message of its own; leave out [prompts] system, or take the message "
                "from the row with [prompts] map"
            )
        return Prompt(id=identity, messages=(*system, *value), meta=meta)
    kind = "is empty" if value in (None, "", []) else f"is a {type(value).__name__}"
    raise DataError(f"row {number}: column {column!r} {kind}; a prompt is a text or a list of chat messages")


def _same_kind(prompts: Sequence[Prompt]) -> None:
    chat = [bool(prompt.messages) for prompt in prompts]
    if any(chat) and not all(chat):
        odd = prompts[chat.index(not chat[0])]
        raise DataError(
            f"the dataset mixes plain texts and chat messages (prompt {odd.id!r} differs from the first); use one kind"
        )
