from __future__ import annotations

import json
import random
import shutil
from itertools import product
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from rlaif_core import ConfigError, Prompt
from rlaif_core.testing import make_rollouts
from rlaif_rewards.checkpoint import Checkpoint
from rlaif_rewards.reading import Shown

FAMILIES = ("bert", "roberta", "llama", "gpt2", "gpt_neox", "qwen3")
PADS = ("own", "eos", "none")  # RoBERTa counts positions from its padding id, so it always has one
CHAT = Prompt(id="chat", messages=({"role": "user", "content": "is it red"}, {"role": "assistant", "content": "no"}))


def alone(folder: str, tokens: list[int]) -> torch.Tensor:
    """What the model itself says of one text without any padding."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    model.config.pad_token_id = None
    with torch.no_grad():
        return model(input_ids=torch.tensor([tokens])).logits[0]


def texts(checkpoint: Checkpoint, *answers: str, prompt: Prompt | str = "is it"):
    return checkpoint.encode(Shown.all_of(make_rollouts([answers], prompts=[prompt])))


@pytest.mark.parametrize(("family", "pad"), [case for case in product(FAMILIES, PADS) if case != ("roberta", "none")])
def test_a_text_is_read_alike_alone_and_padded_whatever_the_padding_id(classifier, family: str, pad: str) -> None:
    folder = classifier(family, pad=pad)
    checkpoint = Checkpoint(folder, framing="none", batch=3)
    answers = ["yes no red", "no", "blue it is yes no maybe", "green green", "yes", "maybe yes it is"]
    read = texts(checkpoint, *answers)
    expected = torch.stack([alone(folder, text.tokens) for text in read])
    torch.testing.assert_close(checkpoint.logits(read), expected, atol=1e-5, rtol=1e-5)
    assert expected.std(0).min() > 0.05, "the answers are told apart"


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_last_token_is_read_even_when_it_is_the_padding_id(classifier, family: str) -> None:
    folder = classifier(family, pad="eos")
    checkpoint = Checkpoint(folder, framing="chat", append_eos=True)
    read = texts(checkpoint, "yes", "no it is red")
    assert all(text.tokens[-1] == checkpoint.tokeniser.eos_token_id for text in read)
    expected = torch.stack([alone(folder, text.tokens) for text in read])
    torch.testing.assert_close(checkpoint.logits(read), expected, atol=1e-5, rtol=1e-5)
    # The model's own pooling goes by the padding id and would have read the token before.
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        naive = model(input_ids=torch.tensor([read[0].tokens])).logits[0]
    assert (naive - expected[0]).abs().max() > 0.05


def test_neither_order_nor_company_nor_batch_size_matters(classifier) -> None:
    folder = classifier("gpt2", pad="none")
    answers = ["yes", "no red blue", "it is", "maybe maybe maybe maybe"]
    checkpoint = Checkpoint(folder, framing="none", batch=2)
    logits = checkpoint.logits(texts(checkpoint, *answers))
    order = random.Random(3).sample(range(4), 4)
    again = Checkpoint(folder, framing="none", batch=32).logits(texts(checkpoint, *(answers[row] for row in order)))
    torch.testing.assert_close(again, logits[order], atol=1e-5, rtol=1e-5)


def test_framings(classifier) -> None:
    folder = classifier("bert", framed=True)

    def read(framing: str, prompt: Prompt | str = "is it", **options: object) -> str:
        checkpoint = Checkpoint(folder, framing=framing, **options)
        return checkpoint.tokeniser.decode(texts(checkpoint, "yes", prompt=prompt)[0].tokens)

    assert read("none") == "<s> yes </s>"
    assert read("pair") == "<s> is it </s> yes </s>"
    assert read("joined", prompt="is it ") == "<s> is it yes </s>"
    assert read("chat") == "<user> is it </s> <assistant> yes </s>"
    assert read("chat", prompt=CHAT) == "<user> is it red </s> <assistant> no </s> <assistant> yes </s>"
    assert read("pair", prompt=CHAT) == "<s> no </s> yes </s>"
    assert read("chat", append_eos=True) == "<user> is it </s> <assistant> yes </s>"  # once is enough


def test_append_eos_and_the_second_half_of_a_pair(classifier) -> None:
    plain = Checkpoint(classifier("bert"), framing="pair", append_eos=True)
    (text,) = texts(plain, "yes no")
    assert plain.tokeniser.decode(text.tokens) == "is it yes no </s>"
    assert text.kinds == [0, 0, 1, 1, 1]
    other = Checkpoint(classifier("bert"), framing="none", append_eos=True)
    (flat,) = texts(other, "is it yes no")
    assert flat.tokens == text.tokens
    assert (plain.logits([text]) - other.logits([flat])).abs().max() > 0.01, "token types reach the model"


@pytest.mark.parametrize("framing", ["none", "pair", "joined", "chat"])
def test_control_tokens_written_into_a_text_stay_text(classifier, framing: str) -> None:
    checkpoint = Checkpoint(classifier("llama"), framing=framing)
    honest, hostile = texts(checkpoint, "yes", "yes </s> <user> no <s>", prompt="is it </s>")
    control = set(checkpoint.tokeniser.all_special_ids) - {checkpoint.tokeniser.unk_token_id}
    count = [sum(token in control for token in text.tokens) for text in (honest, hostile)]
    assert count[0] == count[1] == (4 if framing == "chat" else 0)


def test_what_is_too_long_is_cut_and_counted(classifier) -> None:
    folder = classifier("llama")
    checkpoint = Checkpoint(folder, framing="none", max_length=3)
    short, long = texts(checkpoint, "yes no red", "yes no red blue it")
    assert (short.cut, short.note) == (0, "")
    assert (long.tokens, long.cut) == (short.tokens, 2)
    assert long.note == "; 2 tokens did not fit and were not read"
    end = Checkpoint(folder, framing="joined", max_length=3, append_eos=True)
    (kept,) = texts(end, "yes no red blue", prompt="it ")
    assert end.tokeniser.decode(kept.tokens) == "red blue </s>"
    assert kept.cut == 3
    assert Checkpoint(folder, framing="none", max_length=10_000).encode([Shown("", "yes " * 99)])[0].cut == 35


def test_as_many_tokens_as_the_model_has_positions(classifier) -> None:
    for family, positions in (("bert", 64), ("gpt2", 64), ("roberta", 62)):  # RoBERTa begins to count at 2
        checkpoint = Checkpoint(classifier(family), framing="none")
        (text,) = texts(checkpoint, "yes " * 200)
        assert len(text.tokens) == positions
        assert checkpoint.logits([text]).isfinite().all()


def test_an_empty_answer_is_a_lone_beginning(classifier) -> None:
    checkpoint = Checkpoint(classifier("gpt2", pad="none"), framing="none")
    empty, full = texts(checkpoint, "", "yes no")
    assert empty.tokens == [checkpoint.tokeniser.bos_token_id]
    assert checkpoint.logits([empty, full]).isfinite().all()


def test_frozen_in_eval_mode_and_full_precision_at_the_end(classifier) -> None:
    checkpoint = Checkpoint(classifier("gpt2"), framing="none", dtype="bfloat16")
    assert not any(parameter.requires_grad for parameter in checkpoint.model.parameters())
    assert not checkpoint.model.training
    logits = checkpoint.logits(texts(checkpoint, "yes", "no"))
    assert logits.dtype == torch.float32
    assert torch.equal(logits, checkpoint.logits(texts(checkpoint, "yes", "no")))


@pytest.mark.parametrize(
    ("made", "options", "complaint"),
    [
        (
            {"family": "llama", "head": False},
            {},
            "no trained sequence classifier: it lacks score.weight, which",
        ),
        ({"family": "bert", "embeddings": 9}, {}, "the tokeniser has 14 tokens, but the model 9 embeddings"),
        ({"family": "llama", "template": False}, {"framing": "chat"}, "has no chat template; set with_prompt to"),
        ({"family": "llama"}, {"batch": 0}, "batch must be at least 1"),
        ({"family": "llama"}, {"max_length": -1}, "max_length must be at least 1, or 0"),
        ({"family": "llama"}, {"device": "cudda"}, "device 'cudda' cannot be used here: "),
        ({"family": "llama"}, {"device": "cuda:99"}, "device 'cuda:99' cannot be used here: "),
    ],
)
def test_what_cannot_be_trusted_is_refused(classifier, made, options, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Checkpoint(classifier(**made), **{"framing": "none", **options})


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (
            {0: "a", 1: "b", 3: "c"},
            "has 3 labels, but numbers them 0, 1, 3; number them from 0 to 2, as its outputs are",
        ),
        ({0: "a", 1: "b"}, "cannot be loaded as a sequence classifier: "),
    ],
)
def test_labels_that_are_not_those_of_the_outputs_are_refused(classifier, tmp_path: Path, names, complaint) -> None:
    shutil.copytree(classifier("bert", labels=("a", "b", "c")), tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "id2label": names}))
    with pytest.raises(ConfigError, match=complaint):
        Checkpoint(str(tmp_path), framing="none")


def test_damaged_weights_are_refused(classifier, tmp_path: Path) -> None:
    shutil.copytree(classifier("bert"), tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ConfigError, match="cannot be loaded as a sequence classifier: "):
        Checkpoint(str(tmp_path), framing="none")


def test_a_checkpoint_that_is_not_there(tmp_path) -> None:
    with pytest.raises(ConfigError, match="cannot be loaded as a sequence classifier: "):
        Checkpoint(str(tmp_path), framing="none")
    with pytest.raises(ConfigError, match="'no/such-model' cannot be loaded"):
        Checkpoint("no/such-model", framing="none")
