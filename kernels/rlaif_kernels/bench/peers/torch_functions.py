"""What torch itself has beyond formulas."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from rlaif_kernels.bench.case import Absent, Answers, Call, Contestant, Inputs

__all__ = ["linear_cross_entropy"]


def linear_cross_entropy(*, chunked: bool) -> list[Contestant]:
    """`torch.nn.functional.linear_cross_entropy`, from torch 2.13 on: by default, and if wanted in chunks."""

    def prepare(in_chunks: bool, inputs: Inputs) -> Call:
        function = getattr(torch.nn.functional, "linear_cross_entropy", None)
        if function is None:
            raise Absent(f"not in torch {torch.__version__}")
        options = {"options": torch.nn.LinearCrossEntropyOptions()} if in_chunks else {}
        hidden, weight, targets = (inputs[name] for name in ("hidden", "weight", "targets"))
        return lambda: function(hidden, weight, targets, reduction="none", **options)

    def read(said: Any) -> Answers:
        return {"logp": -said}

    plain = Contestant("F.linear_cross_entropy", partial(prepare, False), read)
    return [plain, Contestant("F.linear_cross_entropy, chunked", partial(prepare, True), read)][: 1 + chunked]
