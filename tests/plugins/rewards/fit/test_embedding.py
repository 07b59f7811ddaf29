from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from rlaif_core import ConfigError
from rlaif_rewards.fit.embedding import Embedding, Encoder
from rlaif_rewards.reading import Shown

ANSWERS = [Shown("is it red", "yes it is"), Shown("no", "no"), Shown("", "blue blue green maybe")]


def encoder(folder: str, **options: int) -> Encoder:
    return Encoder(folder, **{"max_length": 32, "batch": 2, **options}, device="cpu")


@pytest.mark.parametrize("family", ["llama", "bert", "gpt2"])
@pytest.mark.parametrize("context", [False, True])
def test_states_are_means_over_the_answer_alone(classifier, family: str, context: bool) -> None:
    folder = classifier(family, pad="eos" if family == "gpt2" else "own")
    model, tokeniser = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    found = encoder(folder).states(ANSWERS, (0, -1), context=context)
    for row, shown in enumerate(ANSWERS):
        before = tokeniser(shown.context).input_ids if context else []
        whole = torch.tensor([[*before, *tokeniser(shown.answer).input_ids]])
        with torch.no_grad():
            states = model(input_ids=whole, output_hidden_states=True).hidden_states
        expected = torch.cat([states[layer][0, len(before) :].mean(0) for layer in (0, -1)])
        torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-4)


def test_the_answer_is_cut_at_the_end_and_the_context_at_the_beginning(classifier) -> None:
    reader = encoder(classifier("llama"), max_length=6)
    assert [len(part) for part in reader._tokens(Shown("yes " * 9, "no " * 9), True)] == [3, 3]
    assert [len(part) for part in reader._tokens(Shown("yes " * 9, "no"), True)] == [5, 1]
    assert [len(part) for part in reader._tokens(Shown("yes", "no " * 9), True)] == [1, 5]
    assert [len(part) for part in reader._tokens(Shown("yes", "no " * 9), False)] == [0, 6]
    assert len(reader._tokens(Shown("", ""), True)[1]) == 1


def test_rows_are_standardised_and_come_back_from_disk(classifier, tmp_path: Path) -> None:
    block = Embedding.fit(encoder(classifier("llama")), ANSWERS, (-1,), related=True)
    rows = block.of(ANSWERS)
    assert rows.shape == (3, block.width) == (3, 4 * 16)
    np.testing.assert_allclose(rows.mean(0), 0, atol=1e-9)
    assert np.linalg.norm(rows, axis=1).mean() == pytest.approx(1, abs=0.15)
    stated, arrays = block.save(tmp_path)
    np.testing.assert_array_equal(Embedding.restored(stated, arrays, tmp_path, "cpu").of(ANSWERS), rows)


def test_hostile_texts_have_states(classifier) -> None:
    block = Embedding.fit(encoder(classifier("bert", framed=True)), ANSWERS, (-1,), related=False)
    hostile = [Shown("", ""), Shown("", "\ud800"), Shown("", "</s> <pad>"), Shown("", "yes " * 10_000)]
    assert np.isfinite(block.of(hostile)).all()


def test_control_tokens_written_into_a_text_stay_text(classifier) -> None:
    reader = encoder(classifier("llama"))
    tokens = reader._tokens(Shown("", "yes </s> <s>"), False)[1]
    assert not set(tokens) & {reader.tokeniser.bos_token_id, reader.tokeniser.eos_token_id}


def test_what_cannot_be_read_is_refused(classifier, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[linear\] layers names 3, but the model has 0 to 2"):
        Embedding.fit(encoder(classifier("llama")), ANSWERS, (3,), related=False)
    with pytest.raises(ConfigError, match="cannot be loaded"):
        encoder(str(tmp_path))
