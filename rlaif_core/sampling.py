"""Drawing answers token by token: one forward a token with a cache, each answer from its own stream of randomness.

Uniform numbers come from a generator seeded by (run, step, prompt, sample) and pick tokens by inverse distribution
function, so an answer does not depend on which others share its batch, nor on the rank that draws it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlaif_core.causal import CausalModel, Continuation, left_padded
from rlaif_core.errors import ConfigError, TrainingError
from rlaif_core.protocols import Sampling

MOST_KEPT = 1024  # tokens of a truncated support that are remembered for each position


@dataclass(frozen=True, slots=True)
class Drawn:
    """N answers, flush left in `width` columns.

    tokens [N,width] int64 and their log-probs [N,width] f32, the end token included; kept [N,width,K] int32, the
    support of each, padded with -1 (None: the whole vocabulary); lengths [N]; stopped [N] bool, ended by itself.
    """

    tokens: Tensor
    logp: Tensor
    kept: Tensor | None
    lengths: Tensor
    stopped: Tensor


def seeds_of(seed: int, step: int, ids: Sequence[str], group: int) -> list[int]:
    """63-bit seeds for `group` answers to each prompt; a prompt that comes twice in a batch gets fresh ones."""
    seen: Counter[str] = Counter()
    seeds = []
    for identity in ids:
        for sample in range(group):
            key = f"{seed}/{step}/{identity}/{seen[identity] * group + sample}"
            seeds.append(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1)
        seen[identity] += 1
    return seeds


def uniforms(seeds: Sequence[int], count: int) -> Tensor:
    """[len(seeds), count] float64 in [0, 1), row i a function of seeds[i] alone."""
    generator = torch.Generator()
    return torch.stack([torch.rand(count, generator=generator.manual_seed(s), dtype=torch.float64) for s in seeds])


def pick(logits: Tensor, uniform: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor, Tensor | None]:
    """Draw one token a row: logits [B,V], uniform [B] -> (token [B], its log-prob [B] f32, kept [B,K] or None).

    Order of the truncations: temperature, top_k, top_p (the smallest prefix that reaches it), min_p (relative to the
    likeliest token). The log-prob is over what is left, renormalised; NaN where a logit is NaN or infinite.
    """
    p = (logits.float() / sampling.temperature).softmax(-1)
    if not sampling.truncated:
        token = _inverse(p, uniform)[:, None]
        return token[:, 0], p.gather(-1, token)[:, 0].log(), None
    p, ids = p.topk(min(sampling.top_k or p.shape[-1], p.shape[-1]), dim=-1)
    p = p / p.sum(-1, keepdim=True)
    keep = (p.cumsum(-1) - p < sampling.top_p) & (p >= sampling.min_p * p[:, :1]) & (p > 0)
    keep[:, 0] = True
    count = int(keep.sum(-1).max())
    p, ids, keep = p[:, :count].where(keep[:, :count], 0), ids[:, :count], keep[:, :count]
    p = p / p.sum(-1, keepdim=True)
    place = _inverse(p, uniform)[:, None]
    return ids.gather(-1, place)[:, 0], p.gather(-1, place)[:, 0].log(), ids.where(keep, -1)


def _inverse(p: Tensor, uniform: Tensor) -> Tensor:
    """The first index whose cumulated probability exceeds `uniform` of the whole; never one of probability 0."""
    cumulated = p.cumsum(-1, dtype=torch.float64)
    target = uniform.to(p.device)[:, None] * cumulated[:, -1:]
    return torch.searchsorted(cumulated, target, right=True)[:, 0].clamp(max=p.shape[-1] - 1)  # NaN ends up beyond


class Decoder:
    """The decode loop over any causal language model. `decode` turns tokens to text, control tokens included."""

    def __init__(
        self, model: CausalModel, *, pad: int, ends: frozenset[int], decode: Callable[[list[int]], str]
    ) -> None:
        self.model, self.pad, self.decode = model, pad, decode
        self.ends = torch.tensor(sorted(ends), device=model.device)

    def draw(self, rows: Sequence[list[int]], seeds: Sequence[int], sampling: Sampling, *, share: int = 1) -> Drawn:
        """Continue `share` copies of every row: len(rows) * share answers, copies next to each other."""
        tokens, attend = left_padded(rows, self.pad, self.model.device)
        copies = torch.arange(len(rows), device=tokens.device).repeat_interleave(share)
        uniform = uniforms(seeds, sampling.max_tokens)
        with torch.inference_mode(), self.model.continued(tokens, attend, copies, sampling.max_tokens) as start:
            drawn = self._draw(*start, uniform.to(tokens.device), sampling)
            if not bool(torch.isfinite(drawn.logp).all()):
                raise TrainingError(
                    "the policy's logits are NaN or infinite; its weights are damaged, or overflow in this dtype"
                )
        return drawn

    def _draw(self, logits: Tensor, continuation: Continuation, uniform: Tensor, sampling: Sampling) -> Drawn:
        (total, limit), device = uniform.shape, uniform.device
        tokens = torch.full((total, limit), self.pad, device=device)
        logps = torch.zeros(total, limit, device=device)
        supports: list[tuple[Tensor, Tensor]] = []
        lengths = torch.full((total,), limit, device=device)
        stopped = torch.zeros(total, dtype=torch.bool, device=device)
        alive = torch.arange(total, device=device)  # which answer each row of the batch belongs to
        for count in range(limit):
            token, logp, kept = pick(logits, uniform[alive, count], sampling)
            tokens[alive, count], logps[alive, count] = token, logp
            if kept is not None:
                supports.append((alive, _memorable(kept, stopped[alive])))
            ended = torch.isin(token, self.ends) | self._has_stop(tokens[alive, : count + 1], sampling.stop)
            lengths[alive[ended & ~stopped[alive]]] = count + 1
            stopped[alive] |= ended
            going = (~stopped[alive]).nonzero()[:, 0]
            if len(going) == 0 or count + 1 == limit:
                break
            if len(going) <= len(alive) // 2:  # drop finished answers once they are half the batch
                continuation.keep(going)
                token, alive = token[going], alive[going]
            logits = continuation(token)
        return _trimmed(tokens, logps, supports, lengths, stopped)

    def _has_stop(self, tokens: Tensor, stop: Sequence[str]) -> Tensor:
        """[B] bool: whether the end of each answer holds a stop string (an earlier one would have ended it)."""
        if not stop:
            return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
        tails = tokens[:, -(4 * max(map(len, stop)) + 8) :].tolist()
        found = [any(text in self.decode(tail) for text in stop) for tail in tails]
        return torch.tensor(found, device=tokens.device)


def _memorable(kept: Tensor, over: Tensor) -> Tensor:
    """kept [B,K] as it can be remembered for training; answers that are `over` [B] do not matter."""
    if bool((kept[~over, MOST_KEPT:] >= 0).any()):
        raise ConfigError(
            f"top_p and min_p left more than {MOST_KEPT} tokens at one position, too many to remember for training; "
            f"add top_k = {MOST_KEPT} or less, or sample without truncation"
        )
    return kept[:, :MOST_KEPT].int()


def _trimmed(
    tokens: Tensor, logps: Tensor, supports: Sequence[tuple[Tensor, Tensor]], lengths: Tensor, stopped: Tensor
) -> Drawn:
    """Without the columns that no answer reaches, and with nothing behind the end of each."""
    width = int(lengths.max())
    within = torch.arange(width, device=tokens.device) < lengths[:, None]
    kept = None
    if supports:
        widest = max(support.shape[-1] for _, support in supports)
        kept = torch.full((len(tokens), width, widest), -1, dtype=torch.int32, device=tokens.device)
        for place, (alive, support) in enumerate(supports):
            kept[alive, place, : support.shape[-1]] = support
        kept = kept.where(within[..., None], -1)
    return Drawn(tokens[:, :width], logps[:, :width].where(within, 0), kept, lengths, stopped)
