from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlaif_core import ConfigError
from rlaif_rewards.fit.config import TransformerTable
from rlaif_rewards.fit.newborn import begin, tokeniser_of

TEXTS = ["The cat sat on the mat.", "the cat and the dog", "A DOG on a mat"] * 3
SMALL = {"hidden": 16, "layers": 1, "heads": 2, "vocabulary": 300, "max_length": 32}


def test_the_tokeniser_knows_the_words_and_every_other_byte() -> None:
    tokeniser = tokeniser_of(TEXTS, 400, 32)
    assert len(tokeniser) <= 400
    tokens = tokeniser.tokenize("The CAT")
    assert tokens == tokeniser.tokenize("the cat")
    assert len(tokens) == 2
    for strange in ("猫 \u200b", "\x00", "ß" * 9):
        assert tokeniser.unk_token_id not in tokeniser(strange).input_ids


def test_pairs_are_kept_apart() -> None:
    tokeniser = tokeniser_of(TEXTS, 400, 32)
    assert tokeniser.decode(tokeniser("the cat", "a dog").input_ids) == "<s> the cat</s> a dog</s>"


def test_a_new_model_has_the_labels_and_the_sizes() -> None:
    model, tokeniser = begin(TransformerTable(**SMALL), ["bad", "good"], TEXTS)
    assert model.config.id2label == {0: "bad", 1: "good"}
    assert model.config.hidden_size == 16
    assert model.get_input_embeddings().weight.shape == (len(tokeniser), 16)


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_a_checkpoint_keeps_its_body_and_gets_a_head_of_the_size_asked_for(classifier, family: str) -> None:
    folder = classifier(family, labels=("a", "b", "c"))
    model, _ = begin(TransformerTable(model=folder), ["reward"], TEXTS)
    assert model.config.num_labels == 1
    assert model.config.id2label == {0: "reward"}
    other, _ = begin(TransformerTable(model=folder), ["reward"], TEXTS)
    body, same = model.get_input_embeddings().weight, other.get_input_embeddings().weight
    assert torch.equal(body, same)


def test_a_checkpoint_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[transformer\] model .* cannot be loaded"):
        begin(TransformerTable(model=str(tmp_path)), ["a", "b"], TEXTS)
