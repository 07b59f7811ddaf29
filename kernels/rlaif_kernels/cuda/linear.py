"""Linear layer and log-probabilities in blocks, with the row kernels in CUDA."""

from __future__ import annotations

from functools import partial

from rlaif_kernels import chunked, kept, policy
from rlaif_kernels import sparse as sparse_products
from rlaif_kernels.cuda import logprobs, losses, sparse

__all__ = ["kept_logprobs", "linear_logprobs", "linear_policy_loss"]

linear_logprobs = partial(chunked.linear_logprobs, logprobs)
linear_policy_loss = partial(policy.linear_policy_loss, logprobs, losses.policy_loss)
kept_logprobs = partial(kept.kept_logprobs, logprobs, partial(sparse_products.sampled_product, sparse))
