"""Drawing answers token by token: one forward a token with a cache, each answer from its own stream of randomness.

Uniform numbers come from a generator seeded by (run, step, prompt, sample) and pick tokens by inverse distribution
function, so an answer does not depend on which others share its batch, nor on the rank that draws it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rlaif_core.errors import ConfigError, TrainingError
from rlaif_core.protocols import Sampling

MOST_KEPT = 1024  # tokens of a truncated support that are remembered for each position


@dataclass(slots=True)
class Context:
    """One conversation so far, as tokens: which the policy chose, with their log-probs, and the support they had."""

    tokens: list[int]
    mask: list[bool] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)
    kept: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        missing = len(self.tokens) - len(self.mask)
        self.mask += [False] * missing
        self.logp += [0.0] * missing
        self.kept += [[] for _ in range(len(self.tokens) - len(self.kept))]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One answer: its tokens (the end token included), their log-probs and supports, and whether it ended by itself."""

    tokens: list[int]
    logp: list[float]
    kept: list[list[int]]
    stopped: bool


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
    likeliest token). The log-prob is over what is left, renormalised.
    """
    scaled = logits.float() / sampling.temperature
    if not sampling.truncated:
        logp = scaled.log_softmax(-1)
        token = _inverse(logp.exp(), uniform)
        return token, logp.gather(-1, token[:, None])[:, 0], None
    width = min(sampling.top_k, scaled.shape[-1]) if sampling.top_k else scaled.shape[-1]
    values, ids = scaled.topk(width, dim=-1)
    p = values.softmax(-1)
    keep = (p.cumsum(-1) - p < sampling.top_p) & (p >= sampling.min_p * p[:, :1])
    keep[:, 0] = True
    logp = values.masked_fill(~keep, -torch.inf).log_softmax(-1)
    place = _inverse(logp.exp(), uniform)
    count = int(keep.sum(-1).max())
    if count > MOST_KEPT:
        raise ConfigError(
            f"top_p = {sampling.top_p}, min_p = {sampling.min_p} left {count} tokens at one position, too many to "
            f"remember for training; add top_k = {MOST_KEPT} or less, or sample without truncation"
        )
    kept = ids.masked_fill(~keep, -1)[:, :count]
    return ids.gather(-1, place[:, None])[:, 0], logp.gather(-1, place[:, None])[:, 0], kept


def _inverse(p: Tensor, uniform: Tensor) -> Tensor:
    """The first index whose cumulated probability exceeds `uniform`; never one of probability 0."""
    cumulated = p.cumsum(-1, dtype=torch.float64)
    target = uniform.to(p.device)[:, None] * cumulated[:, -1:]
    index = torch.searchsorted(cumulated, target, right=True)[:, 0]
    return torch.where(index < p.shape[-1], index, p.argmax(-1))


class Decoder:
    """The decode loop over any causal language model of transformers."""

    def __init__(self, model: Any, *, pad: int, ends: frozenset[int], decode: Callable[[list[int]], str]) -> None:
        self.model, self.pad, self.ends, self.decode = model, pad, ends, decode
        self.device = next(model.parameters()).device

    def draw(self, rows: Sequence[list[int]], seeds: Sequence[int], sampling: Sampling, *, share: int = 1) -> list[Drawn]:
        """Continue `share` copies of every row: len(rows) * share answers, copies next to each other."""
        with torch.inference_mode():
            return self._draw(rows, uniforms(seeds, sampling.max_tokens), sampling, share)

    def _draw(self, rows: Sequence[list[int]], uniform: Tensor, sampling: Sampling, share: int) -> list[Drawn]:
        logits, cache, attend = self._prefill(rows, share)
        total, limit = len(attend), sampling.max_tokens
        uniform = uniform.to(self.device)
        ends = torch.tensor(sorted(self.ends), device=self.device)
        tokens = torch.full((total, limit), self.pad, device=self.device)
        logps = torch.zeros(total, limit, device=self.device)
        kept_at: list[tuple[Tensor, Tensor]] = []
        lengths = torch.full((total,), limit, device=self.device)
        stopped = torch.zeros(total, dtype=torch.bool, device=self.device)
        alive = torch.arange(total, device=self.device)  # which answer each row of the batch belongs to
        position, padded = attend.sum(1, keepdim=True), not bool(attend.all())
        for count in range(limit):
            _refuse_nan(logits)
            token, logp, kept = pick(logits, uniform[alive, count], sampling)
            tokens[alive, count], logps[alive, count] = token, logp
            if kept is not None:
                kept_at.append((alive, kept))
            ended = torch.isin(token, ends) | self._has_stop(tokens[alive, : count + 1], sampling.stop)
            lengths[alive[ended & ~stopped[alive]]] = count + 1
            stopped[alive] |= ended
            going = (~stopped[alive]).nonzero()[:, 0]
            if len(going) == 0 or count + 1 == limit:
                break
            if len(going) <= len(alive) // 2:  # drop finished answers once they are half the batch
                cache.batch_select_indices(going)
                token, attend, position, alive = token[going], attend[going], position[going], alive[going]
                padded = not bool(attend.all())
            attend = torch.cat([attend, attend.new_ones(len(alive), 1)], 1)
            logits = self.model(
                input_ids=token[:, None],
                attention_mask=attend if padded else None,
                past_key_values=cache,
                use_cache=True,
                **self._positions(position),
            ).logits[:, -1]
            position = position + 1
        return _answers(tokens, logps, kept_at, lengths, stopped)

    def _prefill(self, rows: Sequence[list[int]], share: int) -> tuple[Tensor, Any, Tensor]:
        tokens, attend = left_padded(rows, self.pad, self.device)
        positions = (attend.cumsum(1) - 1).clamp(min=0)
        options: dict[str, Any] = {"logits_to_keep": 1} if takes(self.model, "logits_to_keep") else {}
        output = self.model(
            input_ids=tokens,
            attention_mask=attend if not bool(attend.all()) else None,
            use_cache=True,
            **options,
            **self._positions(positions),
        )
        logits, cache = output.logits[:, -1], output.past_key_values
        if share > 1:
            # A group's samples share their prompt, so it is read once.
            cache.batch_repeat_interleave(share)
            logits, attend = logits.repeat_interleave(share, 0), attend.repeat_interleave(share, 0)
        return logits, cache, attend

    def _positions(self, positions: Tensor) -> dict[str, Tensor]:
        return {"position_ids": positions} if takes(self.model, "position_ids") else {}

    def _has_stop(self, tokens: Tensor, stop: tuple[str, ...]) -> Tensor:
        """[B] bool: whether the end of each answer holds a stop string (an earlier one would have ended it)."""
        if not stop:
            return torch.zeros(len(tokens), dtype=torch.bool, device=self.device)
        tails = tokens[:, -(4 * max(map(len, stop)) + 8) :].tolist()
        found = [any(text in self.decode(tail) for text in stop) for tail in tails]
        return torch.tensor(found, device=self.device)


def _refuse_nan(logits: Tensor) -> None:
    if not bool(torch.isfinite(logits.amax(-1)).all()):
        raise TrainingError("the policy's logits are NaN or infinite; its weights are damaged, or overflow in this dtype")


def _answers(
    tokens: Tensor, logps: Tensor, kept_at: Sequence[tuple[Tensor, Tensor]], lengths: Tensor, stopped: Tensor
) -> list[Drawn]:
    kept: list[list[list[int]]] = [[] for _ in range(len(tokens))]
    for alive, supports in kept_at:
        for row, support in zip(alive.tolist(), supports.tolist(), strict=True):
            kept[row].append([token for token in support if token >= 0])
    return [
        Drawn(its_tokens[:length], its_logps[:length], its_kept[:length], over)
        for its_tokens, its_logps, its_kept, length, over in zip(
            tokens.tolist(), logps.tolist(), kept, lengths.tolist(), stopped.tolist(), strict=True
        )
    ]


def left_padded(rows: Sequence[list[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(tokens [B,T] int64, attend [B,T] bool), the rows flush right."""
    width = max(map(len, rows))
    tokens = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows], device=device)
    attend = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows], device=device)
    return tokens, attend


def takes(model: Any, name: str) -> bool:
    """Whether the model's forward has a parameter of that name."""
    import inspect

    known = getattr(model, "_rlaif_parameters", None)
    if known is None:
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        known = frozenset(inspect.signature(inner.forward).parameters)
        object.__setattr__(model, "_rlaif_parameters", known)
    return name in known
