from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlaif_core import ConfigError
from rlaif_rewards.embedding import Embedder

TEXTS = ["yes", "no it is red", "", "yes yes no", "\ud800"]


def test_rows_of_length_one_that_company_does_not_change(classifier) -> None:
    embed = Embedder(classifier("bert"), device="cpu", batch=2)
    found = embed(TEXTS)
    assert found.shape == (5, 16)
    assert found.norm(dim=1).tolist() == pytest.approx([1, 1, 0, 1, 1])
    for row, text in enumerate(TEXTS):
        assert torch.allclose(embed([text])[0], found[row], atol=1e-5)


def test_it_is_the_mean_of_the_last_states(classifier) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = classifier("llama")
    ids = AutoTokenizer.from_pretrained(folder)("no it is red", return_tensors="pt").input_ids
    with torch.no_grad():
        states = AutoModel.from_pretrained(folder)(input_ids=ids).last_hidden_state[0]
    expected = torch.nn.functional.normalize(states.mean(0), dim=0)
    assert torch.allclose(Embedder(folder, device="cpu")(["no it is red"])[0], expected, atol=1e-5)


def test_a_long_text_is_cut(classifier) -> None:
    assert Embedder(classifier("bert"), device="cpu")(["yes " * 100_000]).isfinite().all()


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be loaded as a model of texts"):
        Embedder(str(tmp_path))


@pytest.mark.real
def test_a_real_model(real_data: Path) -> None:
    embed = Embedder(str(real_data / "models" / "tiny-chat"), device="cpu")
    same, alike, other = embed(["Where do you live?", "where do you live ?", "12 apples cost 30 dollars"])
    assert same @ alike > same @ other
