"""What every operation means, in plain torch.

These files are the fallback on any device, the oracle the fast implementations are tested against, the baseline they
are measured against and the text to read when in doubt. A mask selects and never multiplies: a NaN in a position that
is masked out reaches neither a result nor a gradient.
"""

from rlaif_kernels.reference.attention import attention_column
from rlaif_kernels.reference.linear import kept_logprobs, linear_logprobs, linear_policy_loss
from rlaif_kernels.reference.logprobs import sharded_logprobs, token_logprobs
from rlaif_kernels.reference.losses import kl_estimate, policy_loss, token_weights
from rlaif_kernels.reference.normalise import group_normalise, masked_whiten
from rlaif_kernels.reference.scans import discounted_returns, gae, lambda_returns, vtrace

__all__ = [
    "attention_column",
    "discounted_returns",
    "gae",
    "group_normalise",
    "kept_logprobs",
    "kl_estimate",
    "lambda_returns",
    "linear_logprobs",
    "linear_policy_loss",
    "masked_whiten",
    "policy_loss",
    "sharded_logprobs",
    "token_logprobs",
    "token_weights",
    "vtrace",
]
