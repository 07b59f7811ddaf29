"""Choices through transformers' own decision pipeline, which reads the probability of every option at once.

Any causal model answers by the logits of its labels; a decision model scores them with a head of its own. No text is
written.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from rlaif_core import ConfigError, Failed
from rlaif_core.errors import first_line
from rlaif_core.policy import device_of, fingerprint, quiet
from rlaif_judges.asking import Backend, Reply, Request

SETTINGS = ("decision.json", "decision_template.jinja")
"""What a decision model has beside its weights."""


def saved_as_one(model: str) -> bool:
    """Whether the folder holds a decision model."""
    return any((Path(model).expanduser() / name).is_file() for name in SETTINGS)


def offered() -> bool:
    """Whether the installed transformers has the pipeline."""
    try:
        import_module("transformers.pipelines.decision")
    except ImportError:
        return False
    return True


class Decision(Backend):
    """The model in `model` behind the decision pipeline."""

    def __init__(self, model: str, *, device: str, dtype: str, attention: str | None, revision: str | None) -> None:
        import transformers

        if not offered():
            raise ConfigError(
                f"judge transformers: read = 'decision' needs transformers 5.23, but {transformers.__version__} is "
                "installed; upgrade it, or set read = 'logprobs'"
            )
        options: dict[str, Any] = {"use_safetensors": True}
        if attention:
            options["attn_implementation"] = attention
        try:
            with quiet():
                self._pipeline: Any = transformers.pipeline(
                    "decision",
                    model=str(Path(model).expanduser()),
                    revision=revision,
                    device=device_of(device),
                    dtype=dtype,
                    model_kwargs=options,
                )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError) as error:
            raise ConfigError(f"judge transformers: {model!r} cannot be loaded: {first_line(error)}") from error
        self._pipeline.model.eval().requires_grad_(False)
        self._identity = {
            "backend": "decision",
            "weights": fingerprint(self._pipeline.model, self._pipeline.tokenizer),
            "settings": json.dumps(vars(self._pipeline.decision_config), default=str, sort_keys=True),
            "dtype": dtype,
            "attention": attention,
        }

    @property
    def identity(self) -> Mapping[str, Any]:
        return self._identity

    def answer(self, requests: Iterable[tuple[int, Request]]) -> Iterator[tuple[int, Reply | Failed]]:
        for number, request in requests:
            yield number, self._answered(request)

    def _answered(self, request: Request) -> Reply | Failed:
        if not request.options:
            return Failed("a decision model writes no texts; set read = 'logprobs', or reasons = false")
        began = time.perf_counter()
        *above, last = (message.content for message in request.messages)
        asked = {"type": "choice", "instructions": last, "criteria": dict.fromkeys(request.options)}
        try:
            with quiet():
                said = self._pipeline({"state": "\n\n".join(above), "questions": {"choice": asked}})["choice"]
        except (ValueError, RuntimeError, IndexError) as error:
            return Failed(f"the decision pipeline refused it: {first_line(error)}")
        if left_out := [option for option in request.options if option not in said["probabilities"]]:
            return Failed(f"the decision pipeline left out {left_out[0]!r}")
        chosen = tuple(float(said["probabilities"][option]) for option in request.options)
        total = math.fsum(chosen)
        if not 0 < total < math.inf:
            return Failed(f"the decision pipeline gave no probabilities: {chosen}")
        return Reply(
            text=said["choice"],
            probabilities=tuple(p / total for p in chosen),
            seconds=time.perf_counter() - began,
        )
