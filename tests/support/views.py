"""Rows of logits in views that cannot be flattened without a copy: a backend gives the bits that it gives of one."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from rlaif_kernels.rows import Backend, Rows

A, B = 3, 4

# Name -> the shape of what is viewed but for `width` more columns, and the view [A,B,width].
VIEWS: dict[str, tuple[tuple[int, int, int], Callable[[Tensor, int], Tensor]]] = {
    "all but the last": ((A, B + 1, 0), lambda x, _: x[:, :-1]),
    "all but the first, of wider rows": ((A, B + 1, 11), lambda x, width: x[:, 1:, 3 : 3 + width]),
    "transposed": ((B, A, 3), lambda x, width: x.transpose(0, 1)[..., :width]),
    "one behind the other": ((A, B, 0), lambda x, _: x),
}


def agree(backend: Backend, view: str, width: int, dtype: torch.dtype, device: str) -> None:
    """That no function of the backend cares where rows lie, or touches what is between them, in place or not."""
    (first, second, more), look = VIEWS[view]
    whole = torch.full((first, second, width + more), math.nan, dtype=dtype, device=device)
    logits = look(whole, width)
    logits.copy_(torch.randn(A, B, width) * 3)
    dense = logits.reshape(A * B, width).clone()
    targets = torch.randint(width, (A * B,)).masked_fill(torch.arange(A * B) == 5, -100).to(device)
    rows = Rows(targets, -100, 0.8, 1.1, 7.0, None)
    cut = width // 3
    state = backend.fold(logits[..., :cut], rows, 0, None)
    state = backend.fold(logits[..., cut:], rows, cut, state)
    wanted = backend.fold(dense[:, cut:], rows, cut, backend.fold(dense[:, :cut], rows, 0, None))
    said, exact = backend.finish(state, rows, True), backend.finish(wanted, rows, True)
    assert all(map(torch.equal, said, exact))
    said, exact = backend.forward(logits, rows, True), backend.forward(dense, rows, True)
    assert all(map(torch.equal, said, exact))
    slopes = torch.linspace(-1, 2, A * B, device=device), torch.linspace(1, -3, A * B, device=device)
    gradient = torch.empty_like(dense)
    backend.descend(dense, rows, 0, exact, *slopes, gradient)
    fresh = torch.empty(A, B, width, dtype=dtype, device=device)
    backend.descend(logits, rows, 0, said, *slopes, fresh)
    assert torch.equal(fresh.view_as(gradient), gradient)
    backend.descend(logits, rows, 0, said, *slopes, logits)
    assert torch.equal(logits.reshape_as(gradient), gradient)
    logits.fill_(math.nan)
    assert bool(whole.isnan().all())
