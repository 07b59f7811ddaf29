"""Operators on tokens: the scans, and the policy loss. `backend` is the name of the one whose kernels run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rlaif_kernels.loss_options import arranged
from rlaif_kernels.operators.registry import define, part
from rlaif_kernels.reference.losses import METRICS, PolicyLoss

__all__ = ["gae", "policy_loss", "vtrace"]

SCAN = "Tensor?[] tensors, str names, float[] numbers, str backend"


def _scan(name: str) -> Callable[..., tuple[Tensor, Tensor]]:
    def run(
        tensors: Sequence[Tensor | None], names: str, numbers: Sequence[float], backend: str
    ) -> tuple[Tensor, Tensor]:
        given = dict(zip(names.split(","), [*tensors, *numbers], strict=True))
        return getattr(part(backend, "scans"), name)(**given)  # type: ignore[no-any-return]

    return run


def _scan_fake(tensors: Sequence[Tensor | None], *_: Any) -> tuple[Tensor, Tensor]:
    like = tensors[0]
    assert like is not None
    return like.new_empty(like.shape, dtype=torch.float32), like.new_empty(like.shape, dtype=torch.float32)


for scan in ("gae", "vtrace"):
    define(scan, SCAN, "(Tensor, Tensor)", _scan(scan), _scan_fake)


def _called(name: str, backend: str, **given: Any) -> tuple[Tensor, Tensor]:
    tensors = {k: v for k, v in given.items() if v is None or isinstance(v, Tensor)}
    numbers = {k: float(v) for k, v in given.items() if k not in tensors}
    values = [one if one is None else one.detach() for one in tensors.values()]
    names = ",".join([*tensors, *numbers])
    first, second = getattr(torch.ops.rlaif, name)(values, names, list(numbers.values()), backend)
    return first, second


gae, vtrace = partial(_called, "gae"), partial(_called, "vtrace")


def _loss(logp: Tensor, entropy: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
    *given, options = rest
    # What came through a schema as numbers of one kind.
    kind, length, flags, estimators = int(options[0]), options[1], map(bool, options[2:4]), map(int, options[9:])
    said = part("native", "losses").measured(logp, entropy, given, (kind, length, *flags, *options[4:9], *estimators))
    loss, metrics, of_logp, of_entropy = said
    return loss.clone(), metrics.clone(), of_logp, torch.zeros_like(of_logp) if of_entropy is None else of_entropy


def _loss_fake(logp: Tensor, *_: Any) -> tuple[Tensor, ...]:
    shapes = ((), (len(METRICS),), logp.shape, logp.shape)
    return tuple(logp.new_empty(shape, dtype=torch.float32) for shape in shapes)


def _loss_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.dtypes = inputs[0].dtype, None if inputs[1] is None else inputs[1].dtype
    ctx.save_for_backward(*output[2:])


def _loss_backward(ctx: Any, of_loss: Tensor, *_: Any) -> tuple[Any, ...]:
    found = [
        None if dtype is None else (of_loss * one).to(dtype)
        for one, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
    ]
    return *found, *(None,) * 7


define(
    "policy_loss",
    "Tensor logp, Tensor? entropy, Tensor old_logp, Tensor advantages, Tensor mask, Tensor? reference, "
    "Tensor? correction, Tensor? weights, float[] options",
    "(Tensor, Tensor, Tensor, Tensor)",
    _loss,
    _loss_fake,
    (_loss_backward, _loss_setup),
)


def policy_loss(logp: Tensor, entropy: Tensor | None, **of: Any) -> PolicyLoss:
    given, options = arranged(of)
    detached = [one if one is None else one.detach() for one in given]
    loss, metrics, *_ = torch.ops.rlaif.policy_loss(logp, entropy, *detached, [float(one) for one in options])
    return PolicyLoss(loss, metrics)
