"""A metric against a reference as a reward: whatever has the `compute` of the library `evaluate`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

from rlaif_core import Abstain, ConfigError, DataError, Failed, FeedbackError, Outcome, Prompt, Rollouts, Score
from rlaif_core.deadline import each_within, insist_possible
from rlaif_core.errors import blame, suggest
from rlaif_core.prompts import load_function


@runtime_checkable
class Computes(Protocol):
    """A metric: an `evaluate.Metric`, or anything that is asked like one."""

    def compute(self, *, predictions: list[str], references: list[Any], **options: Any) -> Any:
        """A mapping from the names of what was computed to numbers."""
        ...


class Metric:
    """What `metric` is in what `compute` returns for each answer by itself, against the column `reference`.

    `path` names what builds the metric ("file.py:name" or "module:name": a class or a function, called with `build`),
    or is one. It is asked `compute(predictions=[answer], references=[reference], **options)`, as the metrics of
    `evaluate` are: `path = "evaluate:load"`, `build = { path = "metrics/rouge" }` is one in a local folder, whose code
    is run. A list of one number counts as that number. Where the reference is missing there is no opinion; a value that
    is not finite has failed. A call that takes longer than `timeout` seconds (0: no limit) stops the run, as does one
    that raises. Metrics of a corpus (BLEU) are coarse for a single short answer; prefer those of a sentence.
    """

    def __init__(
        self,
        path: str | Computes,
        metric: str,
        reference: str,
        build: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        timeout: float = 60.0,
    ) -> None:
        self._metric = load_function(path)(**(build or {})) if isinstance(path, str) else path
        if not callable(getattr(self._metric, "compute", None)):
            kind = type(self._metric).__name__
            raise ConfigError(f"metric: {path!r} built a {kind}, which has no compute(predictions=, references=)")
        self.key, self.reference, self.options = metric, reference, options or {}
        self.timeout = insist_possible(timeout)
        self._whose = f"metric {path if isinstance(path, str) else type(path).__name__!r}"

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        pairs = list(zip(rollouts.prompts, rollouts.completions, strict=True))
        said = each_within(self.timeout, [partial(self._outcome, *pair) for pair in pairs])
        outcomes = []
        for row, (prompt, _) in enumerate(pairs):
            with blame(f"{self._whose}, answer {row}, to prompt {prompt.id!r}"):
                outcomes.append(next(said))
        return outcomes

    def _outcome(self, prompt: Prompt, completion: str) -> Outcome:
        if self.reference not in prompt.meta:
            listed = ", ".join(prompt.meta) or "none"
            raise DataError(
                f"the dataset has no column {self.reference!r}{suggest(self.reference, prompt.meta) or '.'} "
                f"Columns besides the prompt: {listed}"
            )
        reference = prompt.meta[self.reference]
        if reference is None or reference in ("", []):
            return Abstain(f"its {self.reference!r} is empty")
        answer = completion.encode("utf-8", "replace").decode()
        found = self._metric.compute(predictions=[answer], references=[reference], **self.options)
        return self._read(found)

    def _read(self, found: Any) -> Outcome:
        if not hasattr(found, "keys"):
            raise FeedbackError(f"compute returned a {type(found).__name__}, but must return a dict")
        if self.key not in found:
            raise FeedbackError(
                f"compute returned no {self.key!r}{suggest(self.key, found) or '.'} There are: {', '.join(found)}"
            )
        value = found[self.key]
        value = value.tolist() if hasattr(value, "tolist") else value
        if isinstance(value, list | tuple) and len(value) == 1:
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise FeedbackError(f"{self.key!r} is a {type(value).__name__}, but must be a number; choose another")
        if not math.isfinite(value):
            return Failed(f"{self.key} is {value}")
        return Score(value, f"{self.key} is {value:.4g}")
