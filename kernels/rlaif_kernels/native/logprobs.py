"""`reference.token_logprobs` in C++, with its gradient: all of a row is done while it is in the processor's cache.

Nothing of the logits' size is made but their gradient. A row's numbers depend neither on the other rows nor on the
number of threads, which are torch's own.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rlaif_kernels import rows as row_kernels
from rlaif_kernels.native import address, binary
from rlaif_kernels.rows import Rows, Said

__all__ = ["descend", "finish", "fold", "forward", "token_logprobs"]

DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}  # as in csrc/logprobs.hpp

token_logprobs = partial(row_kernels.token_logprobs, sys.modules[__name__])


def forward(logits: Tensor, rows: Rows, entropy: bool) -> Said:
    said = _room(logits, entropy)
    binary.logprobs_forward(*_given(logits, rows, 0), *map(address, said), torch.get_num_threads())
    return said
