"""Rows into a folder of `datasets`, a thousand at a time, and put in its place when it is whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from rlaif_core.files import ASIDE, replace_folder, writing

ROWS = 1000
TEXT, NUMBER, TRUTH = pa.string(), pa.float64(), pa.bool_()
MESSAGES = pa.list_(pa.struct([("role", TEXT), ("content", TEXT)]))


def save(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, Any], folder: Path) -> int:
    """Write rows of these columns (name -> Arrow type) to `folder`, and return how many there were.

    Without any the folder is not there: neither is what an earlier call may have left.
    """
    aside = folder.with_name(f".{folder.name}{ASIDE}")
    shutil.rmtree(aside, ignore_errors=True)
    stream = folder.with_name(f".{folder.name}.arrow{ASIDE}")
    count = 0
    try:
        with writing(folder):
            schema = pa.schema(list(columns.items()))
            with pa.OSFile(str(stream), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
                for batch in _batches(rows):
                    writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
                    count += len(batch)
            if count:
                _saved(stream, aside)
        if count:
            replace_folder(aside, folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        stream.unlink(missing_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
    return count


def _saved(stream: Path, aside: Path) -> None:
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        datasets.Dataset.from_file(str(stream)).save_to_disk(str(aside))
    finally:
        if shown:
            datasets.enable_progress_bars()


def _batches(rows: Iterable[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    left = iter(rows)
    while batch := list(islice(left, ROWS)):
        yield batch
