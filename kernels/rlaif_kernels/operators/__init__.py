"""The kernels as operators of torch, which a compiler can put into a graph without looking inside.

Only what is being traced comes here: an operator's call takes several microseconds longer than a plain function's.
Registered are kernels that get bare addresses, of every backend that has them; definitions in plain torch are traced as
they are.
"""

from __future__ import annotations

from rlaif_kernels.operators.policy import linear_policy_loss
from rlaif_kernels.operators.registry import covering
from rlaif_kernels.operators.rows import linear_logprobs, token_logprobs
from rlaif_kernels.operators.tokens import gae, policy_loss, vtrace

__all__ = ["covering", "gae", "linear_logprobs", "linear_policy_loss", "policy_loss", "token_logprobs", "vtrace"]
