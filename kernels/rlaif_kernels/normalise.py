"""Making numbers comparable. Meaning and formulas stand in `reference.normalise`."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rlaif_kernels import arguments
from rlaif_kernels.dispatch import Impl, choose
from rlaif_kernels.reference.normalise import NOISE

__all__ = ["group_normalise", "masked_whiten"]


def masked_whiten(x: Tensor, mask: Tensor, *, eps: float = 1e-8, impl: Impl = "auto") -> Tensor:
    """Shift and scale the unmasked entries, all together, to mean 0 and variance 1; 0 elsewhere.

    Any shape, `mask` of the same -> that shape in float32 (float64 from float64). Differentiable. The variance is the
    population's, and `eps` is added to it, so that equal entries whiten to 0.

    >>> rk.masked_whiten(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False]))
    tensor([-1.,  1.,  0.])
    """
    arguments.tensors("masked_whiten", x=x, mask=mask)
    arguments.matching("masked_whiten", x, mask=mask)
    arguments.flags("masked_whiten", mask=mask)
    arguments.number("masked_whiten", "eps", eps, least=0)
    unfit = "computes in float32 and got float64" if x.dtype == torch.float64 else None
    result: Tensor = choose("masked_whiten", impl, (x, mask), {"native": unfit})(x, mask, eps=eps)
    return result


def group_normalise(
    x: Tensor,
    group: Tensor,
    mask: Tensor,
    *,
    scale: Literal["std", "none"] = "std",
    unbiased: bool = False,
    noise: float = NOISE,
    impl: Impl = "auto",
) -> Tensor:
    """Each number less the mean of its group's and over their spread: the advantage of GRPO (arXiv:2402.03300).

    x [N], group [N] int64 with the same number for the members of a group, wherever they stand, mask [N] bool -> [N]
    in float32 (float64 from float64), 0 where `mask` is False. `scale` "none" leaves out the division (Dr. GRPO).
    A group of one, or one whose numbers differ by no more than `noise` of their size, gives exactly 0. Differentiable.

    >>> x, group = torch.tensor([1.0, 5.0, 0.0, 5.0]), torch.tensor([7, 8, 7, 8])
    >>> rk.group_normalise(x, group, torch.ones(4, dtype=torch.bool))
    tensor([ 1.,  0., -1.,  0.])
    """
    arguments.tensors("group_normalise", x=x, group=group, mask=mask)
    if x.ndim != 1:
        raise ValueError(f"group_normalise: x must be [N], got {arguments.shape(x)}")
    arguments.matching("group_normalise", x, group=group, mask=mask)
    arguments.flags("group_normalise", mask=mask)
    if group.dtype != torch.int64:
        raise TypeError(f"group_normalise: group must be int64, got {group.dtype}")
    arguments.one_of("group_normalise", "scale", scale, ("std", "none"))
    arguments.number("group_normalise", "noise", noise, least=0)
    unfit = "computes in float32 and got float64" if x.dtype == torch.float64 else None
    run = choose("group_normalise", impl, (x, group, mask), {"native": unfit})
    result: Tensor = run(x, group, mask, scale=scale, unbiased=unbiased, noise=noise)
    return result
