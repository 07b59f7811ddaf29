"""The numerical operations of reinforcement learning on tokens, which know tensors and nothing else.

`import rlaif_kernels as rk`, then `rk.gae(rewards, values, mask)`. Every operation takes `impl`: "auto", or one of
`rk.implementations("gae")`, and means what `rk.reference` says.
"""

from __future__ import annotations

from rlaif_kernels import reference
from rlaif_kernels.dense import Dense, accelerate, packed
from rlaif_kernels.dispatch import ImplementationError, build_info, implementations, unmet_requirements
from rlaif_kernels.ops import discounted_returns, gae, masked_whiten, token_logprobs

__all__ = [
    "Dense",
    "ImplementationError",
    "accelerate",
    "build_info",
    "discounted_returns",
    "gae",
    "implementations",
    "masked_whiten",
    "packed",
    "reference",
    "token_logprobs",
    "unmet_requirements",
]
