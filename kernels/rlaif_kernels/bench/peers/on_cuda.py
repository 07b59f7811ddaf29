"""Triton kernels of other projects, which run on a GPU alone: Liger Kernel and Cut Cross-Entropy."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rlaif_kernels.bench.case import Absent, Answers, Call, Contestant, Inputs, installed, named

__all__ = ["cut_cross_entropy", "liger_linear", "liger_linear_loss", "liger_logprobs"]

LIGER, CCE = "liger-kernel", "cut-cross-entropy"


def liger_logprobs() -> Contestant:
    def prepare(inputs: Inputs) -> Call:
        logits, targets = _on_cuda(inputs["logits"]), inputs["targets"]
        function = installed("liger_kernel.transformers.functional").liger_cross_entropy
        return lambda: function(logits, targets, reduction="none")

    note = "its forward writes the gradient over the logits"
    return Contestant("liger", prepare, _negated, note=note, spoils=("logits",), package=LIGER)


def liger_linear() -> Contestant:
    def prepare(inputs: Inputs) -> Call:
        hidden, weight, targets = (inputs[name] for name in ("hidden", "weight", "targets"))
        _on_cuda(hidden)
        function = installed("liger_kernel.transformers.functional").liger_fused_linear_cross_entropy
        return lambda: function(hidden, weight, targets, reduction="none")

    # Its gradients are found in the forward pass for a mean or a sum; one upstream number a token is not its to take.
    return Contestant("liger", prepare, _negated, note="without gradients by token", phases=("forward",), package=LIGER)


def liger_linear_loss() -> Contestant:
    def prepare(inputs: Inputs) -> Call:
        hidden, weight, targets = (inputs[name] for name in ("hidden", "weight", "targets"))
        old, mask, advantages = inputs["old_logp"], inputs["mask"], inputs["advantages"][:, 0].contiguous()
        _on_cuda(hidden)
        loss = installed("liger_kernel.chunked_loss").LigerFusedLinearGRPOLoss(
            beta=0.0, use_ref_model=False, loss_type="dapo"
        )
        return lambda: loss(hidden, weight, targets, mask.to(hidden.dtype), advantages, old_per_token_logps=old)

    return Contestant("liger", prepare, named("loss"), package=LIGER)


def cut_cross_entropy() -> list[Contestant]:
    """With and without its filter, which leaves out gradients that are small."""

    def prepare(inputs: Inputs, filtered: bool) -> Call:
        hidden, weight, targets = (inputs[name] for name in ("hidden", "weight", "targets"))
        _on_cuda(hidden)
        function = installed("cut_cross_entropy").linear_cross_entropy
        options: dict[str, Any] = {} if filtered else {"filter_eps": None}
        return lambda: function(hidden, weight, targets, reduction="none", **options)

    return [
        Contestant("cut-cross-entropy", lambda inputs: prepare(inputs, True), _negated, package=CCE),
        Contestant("cut-cross-entropy, exact", lambda inputs: prepare(inputs, False), _negated, package=CCE),
    ]


def _on_cuda(tensor: Tensor) -> Tensor:
    if not tensor.is_cuda:
        raise Absent("runs on CUDA alone")
    return tensor


def _negated(said: Any) -> Answers:
    return {"logp": -said}
