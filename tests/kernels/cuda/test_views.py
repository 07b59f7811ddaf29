"""Rows whose distances differ, read and written where they lie, on the emulator."""

from __future__ import annotations

import pytest
import torch

import views
from rlaif_kernels import cuda
from rlaif_kernels.cuda import logprobs

pytestmark = pytest.mark.usefixtures("emulator")


@pytest.mark.parametrize(("few", "width"), [(0, 101), (10**9, 9001)], ids=["a block a row", "several blocks a row"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("view", views.VIEWS)
def test_views_of_logits_need_no_copy(
    view: str, dtype: torch.dtype, few: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "FEW", few)
    views.agree(logprobs, view, width, dtype, "cpu")
