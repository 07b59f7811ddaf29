"""TRL's own functions, https://github.com/huggingface/trl."""

from __future__ import annotations

import torch
from torch import Tensor

from rlaif_kernels.bench.case import Absent, Call, Contestant, Inputs, installed, named
from rlaif_kernels.bench.peers.formulas import loss

__all__ = ["linear", "linear_loss", "logprobs", "logprobs_and_entropy"]

CHUNK = 32768  # columns a tile, TRL's own default


def logprobs() -> Contestant:
    def prepare(inputs: Inputs) -> Call:
        function = installed("trl.trainer.utils").selective_log_softmax
        return lambda: function(inputs["logits"], inputs["targets"])

    return Contestant("trl", prepare, package="trl")


def logprobs_and_entropy() -> Contestant:
    def prepare(inputs: Inputs) -> Call:
        try:
            module = installed("trl.trainer.utils")
        except Absent:
            if not inputs["logits"].is_cuda:
                raise
            module = installed("trl.kernels")  # needs less of what TRL builds on, and has the function for a GPU
        function = module.selective_log_softmax_and_entropy
        return lambda: function(inputs["logits"], inputs["targets"])

    return Contestant("trl", prepare, package="trl")


def linear() -> Contestant:
    """Tiles of logits that are folded: Triton on a GPU, torch elsewhere."""

    def prepare(inputs: Inputs) -> Call:
        run, wanted = installed("trl.kernels").ChunkedLogProbFunction.apply, inputs.get("entropy", False)
        hidden, weight, targets = (inputs[name] for name in ("hidden", "weight", "targets"))
        said = ("entropy",) if wanted else ()
        return lambda: run(hidden, weight, None, targets, 1.0, CHUNK, None, 1.0, said)[: 2 if wanted else 1]

    return Contestant("trl chunked", prepare, package="trl")


def linear_loss() -> Contestant:
    """The same, with the loss in plain torch on top."""

    def prepare(inputs: Inputs) -> Call:
        run = installed("trl.kernels").ChunkedLogProbFunction.apply
        hidden, weight, targets = (inputs[name] for name in ("hidden", "weight", "targets"))
        old, advantages, mask = (inputs[name] for name in ("old_logp", "advantages", "mask"))
        width = hidden.shape[-1]

        def call() -> tuple[Tensor, Tensor]:
            flat = hidden.reshape(-1, width), weight, None, targets.reshape(-1)
            logp = run(*flat, 1.0, CHUNK, None, 1.0, ())[0].view(targets.shape)
            return loss(torch.as_tensor(logp), old, advantages, mask)

        return call

    note = "its chunked log-probs; the loss in plain torch"
    return Contestant("trl chunked", prepare, named("loss"), note=note, package="trl")
