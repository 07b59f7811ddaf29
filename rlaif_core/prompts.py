"""Datasets into batches of `Prompt`s, in an order that depends on the seed alone and can be taken up anywhere.

This is the only file that imports `datasets`.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from rlaif_core.config import PromptTable
from rlaif_core.errors import CheckpointError, ConfigError, DataError, PluginError, RlaifError, blame, suggest
from rlaif_core.malformed import KINDS, cache_refused, kind_of, line_of, matching, pattern, reason, where_broken
from rlaif_core.offers import load_attribute
from rlaif_core.options import checked
from rlaif_core.protocols import State
from rlaif_core.rows import Reader, Row, content
from rlaif_core.stream import PromptStream
from rlaif_core.types import Prompt

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
            digest.update(content(prompt))
        return digest.hexdigest()

    def state_dict(self) -> State:
        return {"taken": self._taken, "fingerprint": self.fingerprint}

    def load_state_dict(self, state: State) -> None:
        if state["fingerprint"] != self.fingerprint:
            raise CheckpointError(
                "the prompts are not those that the checkpoint was made with; restore the dataset, or start a new run"
            )
        self._taken = state["taken"]


def prompts_for(table: PromptTable, seed: int, given: Any = None) -> Prompts | PromptStream:
    """The prompts of a run: of what `[prompts]` names, or of `given` rows or `Prompt`s."""
    if not table.streaming:
        change = load_function(table.map) if table.map else None
        prompts = load_prompts(table) if given is None else prompts_of(given, table, change)
        return Prompts(prompts, seed=seed, shuffle=table.shuffle)
    if given is not None and iter(_gone_through(given)) is given:
        raise ConfigError(
            "[prompts] streaming goes through the prompts once an epoch, but a generator can be only once"
        )
    opened = partial(read_prompts, table, given)
    return PromptStream(opened, seed=seed, shuffle=table.shuffle, buffer=table.buffer)


def load_prompts(table: PromptTable) -> list[Prompt]:
    """Read the rows that `[prompts]` describes and turn each into a `Prompt`."""
    with blame(f"[prompts] {_source(table)}"):
        change = load_function(table.map) if table.map else None
        return prompts_of(_rows(table), table, change, partial(_place, table))


def read_prompts(table: PromptTable, given: Any = None) -> Iterator[Prompt]:
    """Once through the prompts that `[prompts]` describes (or the `given` rows), none of which is kept."""
    with blame(f"[prompts] {_source(table)}"):
        change = load_function(table.map) if table.map else None
        rows, where = (_rows(table), partial(_place, table)) if given is None else (given, None)
        reader = Reader(table, change, where)
        kept = False
        for prompt in reader.read(rows):
            kept = True
            yield prompt
        if not kept:
            raise DataError(f"the dataset has no rows{reader.lost()}; nothing to train on")


def _source(table: PromptTable) -> str:
    return ", ".join([table.files] if isinstance(table.files, str) else table.files) or table.dataset or ""


def _place(table: PromptTable, number: int, row: Any) -> str:
    """Which row that is, for complaints: file and line where they can be told."""
    return line_of(_there(table), number, row) or f"row {number}"


def check_prompts(table: PromptTable) -> None:
    """See that the files and functions which `[prompts]` names are there, without reading a row."""
    with blame("[prompts]"):
        if table.map:
            load_function(table.map)
        if table.dataset and ":" in table.dataset:
            checked(load_function(table.dataset), table.options, "[prompts] options")
        files = _there(table)
        if table.dataset is None:
            kind_of(files)


def prompts_of(
    rows: Iterable[Row | Prompt],
    table: PromptTable,
    change: Callable[..., Any] | None = None,
    where: Callable[[int, Any], str] | None = None,
) -> list[Prompt]:
    """Rows (or ready `Prompt`s) as prompts; `change` may rewrite a row, or leave it out by returning None."""
    reader = Reader(table, change, where)
    prompts = list(reader.read(_gone_through(rows)))
    if not prompts:
        raise DataError(f"the dataset has no rows{reader.lost()}; nothing to train on")
    return prompts


def _gone_through(rows: Any) -> Any:
    """The rows, if they are something to iterate over, as many a torch dataset is without `__iter__`."""
    try:
        if not isinstance(rows, str | Mapping):
            iter(rows)
            return rows
    except TypeError:
        pass
    raise DataError(
        f"the prompts are a {type(rows).__name__}, but must be a list (or other iterable) of rows, each a Prompt "
        "or a mapping from column to value; files are named in [prompts] files"
    )


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


def _rows(table: PromptTable) -> Iterable[Row]:
    if table.dataset and ":" in table.dataset:
        function = load_function(table.dataset)
        return function(**checked(function, table.options, "[prompts] options"))  # type: ignore[no-any-return]
    if table.options:
        raise ConfigError("[prompts] options are for a dataset that is a function ('module:function')")
    files, source = _there(table), _source(table)
    kind = table.dataset or kind_of(files)
    if not files and not table.dataset:
        raise ConfigError("[prompts] names neither files nor a dataset; say where the prompts are")
    if table.streaming and "[" in table.split:
        raise ConfigError(
            f"[prompts] split is {table.split!r}, but a stream is of whole splits; name one, and take a part with limit"
        )
    import datasets

    previous = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    told = f"{source} cannot be loaded{f' as {kind}' if kind != source else ''}"
    try:
        if len(files) == 1 and table.dataset is None and _saved(files[0]):
            return _part(datasets.load_from_disk(files[0]), table.split)
        if not files and _saved(kind):
            return _part(datasets.load_from_disk(kind), table.split)
        named = [pattern(file) for file in files] if _local(table) else files
        rows = datasets.load_dataset(kind, data_files=named or None, split=table.split, streaming=table.streaming)
    except Exception as error:  # whatever the reader met, say where in the file it is
        caches = (datasets.config.HF_DATASETS_CACHE, datasets.config.HF_CACHE_HOME)
        if refused := cache_refused(error, files, caches):
            raise RlaifError(refused) from error
        raise DataError(where_broken(files) or f"{told}: {reason(error)}") from error
    finally:
        if previous:
            datasets.enable_progress_bars()
    return _each(rows, files, told, rows.info.builder_name == "csv")


def _each(rows: Iterable[Row], files: Sequence[str], told: str, table: bool) -> Iterator[Row]:
    """The rows, of which `datasets` reads some only when it is asked for them."""
    try:
        for row in rows:
            if table and INDEX in row:
                raise DataError("the rows have more fields than the header names columns; name them all")
            yield row
    except Exception as error:
        raise DataError(where_broken(files) or f"{told}: {reason(error)}") from error


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
