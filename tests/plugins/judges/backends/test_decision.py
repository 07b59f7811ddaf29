from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from checkpoints import checkpoint
from rlaif_core import ConfigError, Failed
from rlaif_judges.asking import Message, Reply, Request
from rlaif_judges.backends.decision import Decision, offered
from rlaif_judges.transformers import Transformers

pytestmark = pytest.mark.skipif(not offered(), reason="transformers before 5.23 has no decision pipeline")


def made(folder: Path) -> Decision:
    return Decision(str(folder), device="cpu", dtype="float32", attention=None, revision=None)


def request(options: tuple[str, ...] = ("A", "B")) -> Request:
    return Request(messages=(Message(role="system", content="x"), Message(role="user", content="y")), options=options)


def asked(backend: Decision, its: Request) -> Reply | Failed:
    ((_, said),) = backend.answer([(0, its)])
    return said


def test_who_it_is_depends_on_what_it_holds_and_not_on_where_it_lies(tmp_path: Path) -> None:
    """Else a cache would go on giving what a model said before it was trained again."""
    one, other = made(checkpoint(tmp_path / "one")).identity, made(checkpoint(tmp_path / "other")).identity
    assert one == other
    json.dumps(dict(one))
    file = tmp_path / "other" / "model.safetensors"
    weights = load_file(file)
    weights[min(weights)] += 1e-3
    save_file(weights, file, metadata={"format": "pt"})
    trained = made(tmp_path / "other").identity
    assert trained != one
    (tmp_path / "other" / "decision.json").write_text(json.dumps({"temperature": {"choice": 2.0}}))
    assert made(tmp_path / "other").identity != trained


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"choice": "A", "probabilities": {"A": 1.0}}, "the decision pipeline left out 'B'"),
        ({"choice": "A", "probabilities": {"A": 0.0, "B": 0.0}}, "gave no probabilities"),
        ({"choice": "A", "probabilities": {"A": float("nan"), "B": 1.0}}, "gave no probabilities"),
    ],
)
def test_what_cannot_be_read_is_a_failure(tmp_path: Path, said: dict[str, Any], reason: str) -> None:
    backend = made(checkpoint(tmp_path))
    backend._pipeline = lambda _: {"choice": said}
    reply = asked(backend, request())
    assert isinstance(reply, Failed)
    assert reason in reply.reason


def test_probabilities_are_made_to_sum_to_one(tmp_path: Path) -> None:
    backend = made(checkpoint(tmp_path))
    backend._pipeline = lambda _: {"choice": {"choice": "B", "probabilities": {"A": 0.1, "B": 0.3}}}
    reply = asked(backend, request())
    assert isinstance(reply, Reply)
    assert reply.probabilities == pytest.approx((0.25, 0.75))


@pytest.mark.parametrize(("name", "value"), [("mass", 0.5), ("chat", True)])
def test_options_that_the_pipeline_has_not_are_refused(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"read = 'decision' has no option {name}; drop it, or set"):
        Transformers(str(checkpoint(tmp_path)), read="decision", device="cpu", **{name: value})
