"""The backend against `transformers serve` with a small model: what no server of our own would do on purpose."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlaif_core import ConfigError, Failed
from rlaif_judges.asking import Message, Reply, Request
from rlaif_judges.backends.openai import OpenAI
from rlaif_judges.backends.server import Server

pytestmark = pytest.mark.real

decides = pytest.mark.skipif(
    importlib.util.find_spec("transformers.cli.serving.systemone") is None,
    reason="this transformers serves no decisions",
)


@pytest.fixture
def asked(real_server: str, tiny_chat: Path) -> Iterator[Any]:
    opened: list[OpenAI] = []

    def ask(**options: Any) -> OpenAI:
        opened.append(OpenAI(Server(**{"model": str(tiny_chat), "base_url": real_server, "concurrency": 4} | options)))
        return opened[-1]

    yield ask
    for backend in opened:
        backend.close()


@pytest.fixture(scope="module")
def pairs(real_data: Path) -> list[tuple[int, Request]]:
    """Which of two answers that people wrote is the better one."""
    lines = (real_data / "data" / "pref_llmbar.jsonl").read_text(encoding="utf-8").splitlines()
    said = [Message(role="user", content=f"Which is better, A or B?\n{line[:600]}") for line in lines[:12]]
    return [(n, Request(messages=(each,), options=("A", "B"), max_tokens=24)) for n, each in enumerate(said)]


@decides
def test_decisions_are_found_out_and_give_probabilities(asked: Any, pairs: list[tuple[int, Request]]) -> None:
    backend = asked(read="auto", price_in=1.0)
    said = dict(backend.answer(pairs))
    assert backend.identity["read"] == "decision"
    assert sorted(said) == [number for number, _ in pairs]
    for reply in said.values():
        assert isinstance(reply, Reply), reply
        assert sum(reply.probabilities) == pytest.approx(1)
        assert min(reply.probabilities) > 0
        assert reply.tokens_in > 20
        assert reply.cost == pytest.approx(reply.tokens_in / 1e6)
    assert len({reply.probabilities for reply in said.values() if isinstance(reply, Reply)}) > len(pairs) / 2
    assert {n: r.probabilities for n, r in backend.answer(pairs) if isinstance(r, Reply)} == {
        n: r.probabilities for n, r in said.items() if isinstance(r, Reply)
    }


@decides
def test_a_decision_is_the_models_own_probability_of_the_label(asked: Any, tiny_chat: Path) -> None:
    """The model in this process, asked in the server's words, gives the same."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    request = Request(messages=(Message(role="user", content="Is the sky blue?"),), options=("yes", "no", "perhaps"))
    ((_, reply),) = asked(read="decision").answer([(0, request)])
    assert isinstance(reply, Reply)
    tokeniser = AutoTokenizer.from_pretrained(tiny_chat)
    words = "Is the sky blue?\n\nChoose one.\nA. yes\nB. no\nC. perhaps\n"
    words += "Answer with the letter of the option that fits best (A to C) only."
    chat = [{"role": "user", "content": words}]
    tokens = tokeniser.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    model = AutoModelForCausalLM.from_pretrained(tiny_chat, dtype=torch.float32)
    with torch.no_grad():
        logits = model(input_ids=tokens["input_ids"]).logits[0, -1]
    labels = [tokeniser.encode(label, add_special_tokens=False)[0] for label in "ABC"]
    assert reply.probabilities == pytest.approx(logits[labels].softmax(0).tolist(), abs=1e-3)


def test_a_model_that_writes_no_json_gives_no_verdict(asked: Any, pairs: list[tuple[int, Request]]) -> None:
    said = dict(asked(read="json").answer(pairs[:4]))
    assert all(isinstance(each, Failed) and "answered something else" in each.reason for each in said.values())


def test_a_server_without_log_probabilities_is_told_apart(asked: Any, pairs: list[tuple[int, Request]]) -> None:
    ((_, said),) = asked(read="logprobs").answer(pairs[:1])
    assert isinstance(said, Failed)
    assert "gave no log-probabilities; set read to another way" in said.reason


def test_texts_are_written_and_cut_off(asked: Any) -> None:
    request = Request(messages=(Message(role="user", content="Hello, who are you?"),), max_tokens=5)
    ((_, said),) = asked().answer([(0, request)])
    assert isinstance(said, Reply)
    assert said.text.strip()
    assert said.cut
    assert said.tokens_out == 5
    assert math.isfinite(said.seconds)


def test_a_model_that_it_does_not_serve_is_a_mistake_of_the_config(asked: Any) -> None:
    with pytest.raises(ConfigError, match="set model to one that the server has"):
        list(asked(model="nobody/nothing").answer([(0, Request(messages=(Message(role="user", content="?"),)))]))


@pytest.mark.parametrize("text", ["", "\x00\x1b[31m", "\ud800", "<|mark|><|split|>", "word " * 2000])
def test_hostile_texts_are_answered_or_fail_with_a_reason(asked: Any, text: str) -> None:
    for options in ((), ("A", "B")):
        request = Request(messages=(Message(role="user", content=text),), options=options, max_tokens=4)
        ((_, said),) = asked(read="json", retries=1).answer([(0, request)])
        assert isinstance(said, Reply) or said.reason
