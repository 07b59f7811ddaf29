from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import checkpoints
from checkpoints import ARCHITECTURES
from rlaif_core.causal import CausalModel, left_padded

ROWS = [[5], [11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21], [30, 31, 32, 33]]


def built(architecture: str, **changes: object) -> CausalModel:
    with checkpoints.quiet():
        return CausalModel(checkpoints.model(architecture, vocabulary=40, **changes))


def alone(model: CausalModel, row: list[int]) -> torch.Tensor:
    """[T,V] logits of one row, read by the bare module without padding, positions or cache."""
    with torch.no_grad():
        return model.module(torch.tensor([row]), use_cache=False).logits[0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_on_either_side_changes_nothing(architecture: str) -> None:
    model = built(architecture)
    tokens, attend = left_padded(ROWS, 39, model.device)
    tokens, attend = (torch.nn.functional.pad(x, (1, 3)) for x in (tokens, attend))
    with torch.no_grad():
        logits, cache = model(tokens, attend, keep=tokens.shape[1])
    assert cache is None
    for row, mine, here in zip(ROWS, logits, attend, strict=True):
        torch.testing.assert_close(mine[here], alone(model, row), rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_cache_goes_on_where_it_was_for_any_rows(architecture: str) -> None:
    model = built(architecture)
    tokens, attend = left_padded(ROWS, 39, model.device)
    with torch.no_grad():
        logits, cache = model(tokens, attend, keep=1, caching=True)
        for row, mine in zip(ROWS, logits, strict=True):
            torch.testing.assert_close(mine[0], alone(model, row)[-1], rtol=0, atol=1e-5)
        order = torch.tensor([2, 0, 0, 1])
        cache.reorder_cache(order)
        rows, attend = [ROWS[at] for at in order], attend[order]
        for token in range(1, 10):  # past every sliding window
            rows, attend = [[*row, token] for row in rows], torch.nn.functional.pad(attend, (0, 1), value=True)
            logits, cache = model(torch.full((4, 1), token), attend, keep=1, cache=cache, caching=True)
    for row, mine in zip(rows, logits, strict=True):
        torch.testing.assert_close(mine[0], alone(model, row)[-1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_pieces_make_the_whole_where_a_prefix_may_be_shared(architecture: str) -> None:
    model = built(architecture)
    tokens, attend = left_padded([row * 2 for row in ROWS], 39, model.device)
    with torch.no_grad():
        whole, _ = model(tokens, attend, keep=8)
        _, cache = model(tokens[:, :-8], attend[:, :-8], keep=1, caching=True)
        assert model.shares_prefixes == (architecture != "mamba")
        if model.shares_prefixes:
            pieces, _ = model(tokens[:, -8:], attend, keep=8, cache=cache, caching=True)
            here = attend[:, -8:]
            torch.testing.assert_close(pieces[here], whole[here], rtol=0, atol=1e-5)


def test_absolute_positions_would_show_wrong_ones() -> None:
    """The test of padding above can fail: without position ids GPT-2 gives other logits for a padded row."""
    model = built("gpt2")
    tokens, attend = left_padded(ROWS, 39, model.device)
    with torch.no_grad():
        wrong = model.module(tokens, attention_mask=attend).logits
    assert (wrong[0, -1] - alone(model, ROWS[0])[-1]).abs().max() > 0.1


def test_only_what_the_architecture_takes_is_passed() -> None:
    class Bare(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.given = torch.nn.Parameter(torch.zeros(1)), {}

        def forward(self, input_ids, attention_mask, use_cache, past_key_values=None):
            self.given = {"attention_mask": attention_mask, "use_cache": use_cache}
            return SimpleNamespace(logits=torch.zeros(*input_ids.shape, 3), past_key_values=SimpleNamespace(layers=[1]))

    model = CausalModel(Bare())
    tokens = torch.zeros(2, 4, dtype=torch.int64)
    logits, _ = model(tokens, torch.ones(2, 4, dtype=torch.bool), keep=2)
    assert logits.shape == (2, 2, 3)
    assert model.module.given == {"attention_mask": None, "use_cache": False}
    model(tokens, torch.tensor([[False, True, True, True]] * 2), keep=2, caching=True)
    assert model.module.given["attention_mask"].sum() == 6
    assert not model.shares_prefixes  # a cache layer of an unknown kind


def test_adapters_are_looked_through() -> None:
    peft = pytest.importorskip("peft")
    plain = checkpoints.model("gpt2", vocabulary=40)
    with checkpoints.quiet():
        wrapped = peft.get_peft_model(plain, peft.LoraConfig(target_modules=["c_attn"]))
    tokens, attend = left_padded(ROWS, 39, torch.device("cpu"))
    with torch.no_grad():
        logits, _ = CausalModel(wrapped.eval())(tokens, attend, keep=1)
    torch.testing.assert_close(logits[0, 0], alone(CausalModel(plain), ROWS[0])[-1])


def test_rows_flush_right() -> None:
    tokens, attend = left_padded([[1], [2, 3, 4]], 9, torch.device("cpu"))
    assert tokens.tolist() == [[9, 9, 1], [2, 3, 4]]
    assert attend.tolist() == [[False, False, True], [True, True, True]]
