"""Rows whose distances differ, read and written where they lie."""

from __future__ import annotations

import pytest
import torch

import views

kernels = pytest.importorskip("rlaif_kernels.triton.logprobs", reason="triton is not installed")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("view", views.VIEWS)
def test_views_of_logits_need_no_copy(
    view: str, dtype: torch.dtype, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "BLOCK", 16)
    monkeypatch.setattr(kernels, "SEGMENT", 32)
    views.agree(kernels, view, 101, dtype, device)
