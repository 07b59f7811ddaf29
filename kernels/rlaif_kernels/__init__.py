"""The numerical operations of reinforcement learning on tokens, which know tensors and nothing else.

`import rlaif_kernels as rk`, then `rk.gae(rewards, values, mask)`. Every operation takes `impl`: "auto", or one of
`rk.implementations("gae")`, and means what `rk.reference` says. `with rk.using("torch"):` turns off all but those
definitions. `help(rk.gae)` shows it at work.

An argument that does not fit is a TypeError or a ValueError that names the operation, the argument and what was
expected; a token id outside the vocabulary an IndexError, on the CPU; an `impl` that cannot run an ImplementationError.
Rewards, logits and the like are not looked at: a NaN that counts comes out again.

Threads may call all of this at once. A child of `os.fork` has none of torch's own threads, and if its parent has
computed with several of them, torch waits there for ever, in matrix products and in whatever takes more than 32,768
numbers, until the child calls `torch.set_num_threads(1)`, as a DataLoader's workers do. That goes for the definitions,
for `linear_logprobs`, `linear_policy_loss` and `attention_column`, which have torch multiply, and for the little that
`sharded_logprobs` and `kept_logprobs` leave to torch, if there is much of it. The other kernels compute there alone.
"""

from __future__ import annotations

from rlaif_kernels import reference
from rlaif_kernels.attention import attention_column
from rlaif_kernels.dense import Dense, accelerate, packed
from rlaif_kernels.dispatch import ImplementationError, build_info, implementations, unmet_requirements, using
from rlaif_kernels.linear import kept_logprobs, linear_logprobs, linear_policy_loss
from rlaif_kernels.logprobs import sharded_logprobs, token_logprobs
from rlaif_kernels.losses import METRICS, LinearPolicyLoss, PolicyLoss, kl_estimate, policy_loss, token_weights
from rlaif_kernels.normalise import group_normalise, masked_whiten
from rlaif_kernels.scans import discounted_returns, gae, lambda_returns, vtrace

__all__ = [
    "METRICS",
    "Dense",
    "ImplementationError",
    "LinearPolicyLoss",
    "PolicyLoss",
    "accelerate",
    "attention_column",
    "build_info",
    "discounted_returns",
    "gae",
    "group_normalise",
    "implementations",
    "kept_logprobs",
    "kl_estimate",
    "lambda_returns",
    "linear_logprobs",
    "linear_policy_loss",
    "masked_whiten",
    "packed",
    "policy_loss",
    "reference",
    "sharded_logprobs",
    "token_logprobs",
    "token_weights",
    "unmet_requirements",
    "using",
    "vtrace",
]
