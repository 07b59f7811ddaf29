"""Log-probabilities renormalised over the tokens that a sampler kept: a few products a position, then short rows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from rlaif_kernels import rows
from rlaif_kernels.reference.logprobs import transformed
from rlaif_kernels.rows import Backend

__all__ = ["kept_logprobs"]

Products = Callable[[Tensor, Tensor, Tensor], Tensor]


def kept_logprobs(
    backend: Backend,
    products: Products,
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    kept: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    scale: float = 1.0,
    ignore_index: int = -100,
    entropy: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """`reference.kept_logprobs` by a backend's row kernels and its `products(hidden [N,H], weight, ids [N,K])`."""
    ignored = (targets == ignore_index).reshape(-1)
    backend.check_ids(kept, len(weight))
    # Of what is ignored nothing is read.
    ids = kept.reshape(targets.numel(), kept.shape[-1]).masked_fill(ignored[:, None], -1).contiguous()
    there = ids >= 0
    logits = products(hidden.reshape(targets.numel(), hidden.shape[-1]), weight, ids)
    if bias is not None:
        known = there & (ids < len(bias))  # where a GPU is asked, nobody has checked
        logits = logits + bias.float()[ids.where(known, 0)].where(known, 0.0)
    if isinstance(temperature, Tensor):
        temperature = temperature.expand(targets.shape).reshape(-1)
    z = transformed(logits, ignored, temperature, softcap, scale).masked_fill(~there, -torch.inf)
    # One place more, without probability, for targets that were not kept.
    found = functional.pad(ids == targets.reshape(-1, 1), (0, 1), value=True)
    place = found.int().argmax(-1).where(~ignored, -1)  # which is no place, as `ignore_index` may be
    z = functional.pad(z, (0, 1), value=-torch.inf)
    said = rows.token_logprobs(backend, z, place, ignore_index=-1, entropy=entropy)
    if isinstance(said, Tensor):
        return said.view(targets.shape)
    return said[0].view(targets.shape), said[1].view(targets.shape)
