from __future__ import annotations

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rlaif_core import ConfigError, Prompt
from rlaif_core.testing import make_rollouts
from rlaif_rewards.reading import Encoded, Reader, Shown, batched, positions_of, spare_padding

CHAT = ({"role": "user", "content": "is it"}, {"role": "assistant", "content": "no"})


def reader(folder: str, framing: str = "none", **options: object) -> Reader:
    tokeniser = AutoTokenizer.from_pretrained(folder)
    return Reader(tokeniser, folder, framing, **{"append_eos": False, "max_length": 0, "positions": 64, **options})


def test_an_answer_knows_its_conversation() -> None:
    answer = {"role": "assistant", "content": "yes"}
    assert Shown("", "yes").conversation == [answer]
    assert Shown("is it", "yes").conversation == [{"role": "user", "content": "is it"}, answer]
    assert Shown("no", "yes", CHAT).conversation == [*CHAT, answer]


def test_rollouts_are_shown_in_their_order() -> None:
    prompts = [Prompt(id="a", text="q"), Prompt(id="b", messages=CHAT)]
    found = Shown.all_of(make_rollouts([("yes",), ("no",)], prompts=prompts))
    assert [(shown.context, shown.answer, len(shown.messages)) for shown in found] == [("q", "yes", 0), ("no", "no", 2)]
    assert found[1].name == "prompt 'b'"


def test_half_a_character_and_control_tokens_are_made_harmless(classifier) -> None:
    found = reader(classifier("llama"))
    assert found.defused("a\ud800b") == "a\ufffdb"
    assert found.defused("</s>") == "<\u2060/s>"


def test_a_framing_that_the_tokeniser_cannot_give_is_refused(classifier) -> None:
    with pytest.raises(ConfigError, match="has no chat template"):
        reader(classifier("llama", template=False), "chat")
    with pytest.raises(ConfigError, match="max_length must be at least 1, or 0"):
        reader(classifier("llama"), max_length=-1)


def test_padding_is_no_token_that_a_text_ends_in(classifier) -> None:
    folder = classifier("llama", pad="eos")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokeniser = AutoTokenizer.from_pretrained(folder)
    padding = spare_padding(model, tokeniser, {0, 1})
    assert padding not in {0, 1, tokeniser.eos_token_id}
    assert model.config.pad_token_id == padding
    inputs = batched([Encoded([5, 6, 7], [0] * 3, 0), Encoded([8], [0], 0)], padding, model)
    assert inputs["input_ids"].tolist() == [[5, 6, 7], [8, padding, padding]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert positions_of(model) == 64
