"""What a run leaves behind: metrics as JSON lines, every answer with its feedback as parquet, TensorBoard scalars.

A step is on the disk before the next one starts. Killing the run tears at most the last line of metrics.jsonl, and
`Record.rewind` returns the folder to any earlier step, so that a resumed run leaves what a straight one leaves.
"""

from __future__ import annotations

import json
import math
import os
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from rlaif_core.errors import DataError
from rlaif_core.feedback import Feedback, Outcome, Score
from rlaif_core.files import ASIDE, write_bytes, writing
from rlaif_core.progress import Progress
from rlaif_core.types import Experience, Metrics, Prompt, Rollouts

if TYPE_CHECKING:
    import pyarrow as pa

METRICS = "metrics.jsonl"
ROLLOUTS = "rollouts"
TENSORBOARD = "tensorboard"
NAME = re.compile(r"step-(\d+)\.parquet")


class Record:
    """Writes steps `start` + 1, `start` + 2, ... of a run of `steps` steps into `folder`, which exists."""

    def __init__(
        self, folder: Path, *, steps: int, start: int = 0, progress: bool = True, tensorboard: bool = True
    ) -> None:
        self.folder = folder
        with writing(folder / ROLLOUTS):
            (folder / ROLLOUTS).mkdir(exist_ok=True)
        with writing(folder / METRICS):
            self._lines: BinaryIO = (folder / METRICS).open("ab", buffering=0)
        self._scalars = _Scalars(folder / TENSORBOARD, start) if tensorboard else None
        self._progress = Progress(steps, start) if progress else None

    def step(self, step: int, experience: Experience, metrics: Metrics) -> None:
        """Record one finished step; the metrics line comes last and so says that the step is complete."""
        write_bytes(self.folder / ROLLOUTS / f"step-{step:06d}.parquet", _parquet(step, experience))
        line = {"step": step} | {name: value for name, value in metrics.items() if name != "step"}
        with writing(self.folder / METRICS):
            self._lines.write(json.dumps(line).encode() + b"\n")
            os.fsync(self._lines.fileno())
        if self._scalars:
            self._scalars.write(step, metrics)
        if self._progress:
            self._progress.step(step, metrics)

    def close(self) -> None:
        """Close the files and the progress bar; may be called twice."""
        self._lines.close()
        if self._scalars:
            self._scalars.close()
        if self._progress:
            self._progress.close()

    @staticmethod
    def rewind(folder: Path, step: int) -> None:
        """Forget everything after `step`: metrics lines (and a torn one), rollouts, unfinished files.

        TensorBoard's files stay; a `Record` with `start=step` tells TensorBoard to forget the later points. What
        somebody has taken out of the folder does not hinder the run, but is said.
        """
        path = folder / METRICS
        kept = {values["step"]: line for line, values in _parsed(path) if values["step"] <= step}
        if path.exists():
            write_bytes(path, b"".join(kept.values()))
        for place, there in ((path, kept), (folder / ROLLOUTS, rollout_files(folder))):
            if missing := sorted(set(range(1, step + 1)) - set(there)):
                these = ", ".join(map(str, missing[:5])) + (", ..." if missing[5:] else "")
                sys.stderr.write(f"warning: {place} lacks steps {these}; the run goes on without them\n")
        for number, file in rollout_files(folder).items():
            if number > step:
                with writing(file):
                    file.unlink()
        for place in (folder, folder / ROLLOUTS):
            for unfinished in place.glob(f".*{ASIDE}"):
                if unfinished.is_file():
                    unfinished.unlink()


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The recorded steps in order, each with its "step"; a torn last line is left out. Empty before the first step.

    Raises DataError when a line before the last cannot be read, for then the file was damaged by something else.
    """
    return [values for _, values in _parsed(folder / METRICS)]


def read_rollouts(folder: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Every recorded answer in step order (or `columns` of them) as an Arrow table; `.to_pylist()` gives dicts."""
    import pyarrow as pa

    schema = _schema() if columns is None else pa.schema([_schema().field(name) for name in columns])
    tables = [_read(path, columns) for path in rollout_files(folder).values()]
    return pa.concat_tables([schema.empty_table(), *tables])


def rows_of(path: Path, places: Sequence[int]) -> list[dict[str, Any]]:
    """Some rows of one step's file, in the order of `places`."""
    rows: list[dict[str, Any]] = _read(path, None).take(places).to_pylist()
    return rows


def rollout_files(folder: Path) -> dict[int, Path]:
    """The parquet file of each recorded step, in step order."""
    named = [(NAME.fullmatch(path.name), path) for path in (folder / ROLLOUTS).glob("step-*.parquet")]
    return dict(sorted((int(match[1]), path) for match, path in named if match))


def rendered(prompt: Prompt) -> str:
    """The prompt as one text: its plain text, or its messages under their roles."""
    if len(prompt.messages) < 2:
        return prompt.text
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in prompt.messages)


def _parsed(path: Path) -> list[tuple[bytes, dict[str, float]]]:
    """Each line of metrics.jsonl, raw and parsed, without a torn last one; none where there is no file."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    parsed = []
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            whole = line.endswith(b"\n") and isinstance(values["step"], int)
        except (ValueError, TypeError, KeyError):
            whole = False
        if whole:
            parsed.append((line, values))
        elif number < len(lines):
            raise DataError(f"{path}, line {number} is damaged; restore the file, or delete that line to do without it")
    return parsed


def _read(path: Path, columns: Sequence[str] | None) -> pa.Table:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:  # ParquetFile rather than read_table: the latter takes a folder called "lr=3" for a column
        with ParquetFile(path) as file:
            return file.read(columns=columns)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{path} is damaged ({error}); restore the file, or delete it to do without that step"
        ) from None


def _schema() -> pa.Schema:
    import pyarrow as pa

    texts = dict.fromkeys(("prompt_id", "prompt", "completion", "finish", "outcomes"), pa.string())
    whole = dict.fromkeys(("step", "sample", "tokens"), pa.int64())
    real = dict.fromkeys(("logp", "reward", "advantage"), pa.float64())
    kinds = texts | whole | real | {"counted": pa.bool_()}
    order = ("step", "prompt_id", "prompt", "sample", "completion", "finish", "tokens", "logp", "reward", "advantage")
    return pa.schema([(name, kinds[name]) for name in (*order, "counted", "outcomes")])


def _parquet(step: int, experience: Experience) -> memoryview:
    """One row an answer, as the content of a parquet file."""
    import pyarrow as pa
    from pyarrow.parquet import write_table

    rollouts, feedback = experience.rollouts, experience.feedback
    columns = {
        "step": [step] * len(rollouts),
        "prompt_id": [_text(prompt.id) for prompt in rollouts.prompts],
        "prompt": [_text(rendered(prompt)) for prompt in rollouts.prompts],
        "sample": _places(rollouts),
        "completion": [_text(completion) for completion in rollouts.completions],
        "finish": list(rollouts.finish),
        "tokens": rollouts.mask.sum(1).tolist(),
        "logp": rollouts.logp.double().sum(1).tolist(),
        "reward": _rewards(rollouts, feedback),
        "advantage": _advantages(experience),
        "counted": experience.counted.tolist() if experience.counted is not None else [True] * len(rollouts),
        "outcomes": [_outcomes(feedback, row) for row in range(len(rollouts))],
    }
    sink = pa.BufferOutputStream()
    write_table(pa.table(columns, schema=_schema()), sink, compression="zstd")
    return memoryview(sink.getvalue())


def _places(rollouts: Rollouts) -> list[int]:
    """Each answer's place among the answers to its prompt."""
    seen: Counter[int] = Counter()
    places = []
    for group in rollouts.group.tolist():
        places.append(seen[group])
        seen[group] += 1
    return places


def _rewards(rollouts: Rollouts, feedback: Feedback) -> list[float | None]:
    if not feedback.sources(contributed=False):
        return [None] * len(rollouts)
    values, counted = feedback.totals(rollouts.group, contributed=False)
    return [value if counts else None for value, counts in zip(values.tolist(), counted.tolist(), strict=True)]


def _advantages(experience: Experience) -> list[float | None]:
    mask = experience.rollouts.mask
    if "reward" not in experience.advantages:
        return [None] * len(mask)
    means: list[float | None] = (experience.advantages["reward"].sum(1) / mask.sum(1).clamp(min=1)).tolist()
    return means


def _outcomes(feedback: Feedback, row: int) -> str:
    said = {
        source: _plain(outcomes[row]) | {"weight": feedback.weights[source], "channel": feedback.channels[source]}
        for source, outcomes in feedback.outcomes.items()
    }
    return _text(json.dumps(said, ensure_ascii=False))


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        "kind": type(outcome).__name__.lower(),
        "value": outcome.value if isinstance(outcome, Score) else None,
        **({"unshaped": its} if (its := getattr(outcome, "unshaped", None)) is not None else {}),
        "reason": outcome.reason,
        "cost": outcome.cost if math.isfinite(outcome.cost) else None,
    }


def _text(text: str) -> str:
    """`text` as UTF-8 can hold it: half a surrogate pair, which a judge's JSON may contain, becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class _Scalars:
    """A TensorBoard events file. Written directly: torch's writer takes two seconds to import and writes late."""

    def __init__(self, folder: Path, start: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        # The files of one folder are read in order of their names.
        self.path = folder / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
        with writing(self.path):
            folder.mkdir(exist_ok=True)
            self._writer = RecordWriter(self.path.open("wb", buffering=0))
        self._add(Event(wall_time=time.time(), file_version="brain.Event:2"))
        # Whoever reads this drops what the files of an interrupted run say about the steps to come.
        self._add(Event(wall_time=time.time(), step=start + 1, session_log=SessionLog(status=SessionLog.START)))

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        self._add(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def _add(self, event: Any) -> None:
        with writing(self.path):
            self._writer.write(event.SerializeToString())

    def close(self) -> None:
        self._writer.close()
