"""The sampler of a transformers policy: prompts to `Rollouts`, token-in/token-out, never decoded and encoded again."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rlaif_core.causal import left_padded
from rlaif_core.errors import DataError, PluginError, TrainingError
from rlaif_core.protocols import Sampling
from rlaif_core.sampling import Decoder, Drawn, seeds_of
from rlaif_core.types import Finish, Prompt, Rollouts

if TYPE_CHECKING:
    from rlaif_core.policy import TransformersPolicy


class PolicySampler:
    """Draws from the policy's current weights; the same (seed, step, prompt, sample) draws the same answer."""

    def __init__(self, policy: TransformersPolicy, *, seed: int, step: int, group: int) -> None:
        self._policy, self._seed, self._step, self.group = policy, seed, step, group

    def sample(self, prompts: Sequence[Prompt], sampling: Sampling) -> Rollouts:
        rows = [self._policy.chat.encode(prompt) for prompt in prompts]
        self._fit(prompts, rows, sampling.max_tokens)
        seeds = seeds_of(self._seed, self._step, [prompt.id for prompt in prompts], self.group)
        drawn = self._decoder().draw(rows, seeds, sampling, share=self.group)
        copies = [number for number in range(len(prompts)) for _ in range(self.group)]
        before = self._unchosen([rows[number] for number in copies])
        return self._rollouts([prompts[number] for number in copies], before, drawn, copies, sampling.temperature)

    def extend(self, rollouts: Rollouts, turns: Sequence[str], sampling: Sampling) -> Rollouts:
        if len(turns) != len(rollouts):
            raise PluginError(f"extend got {len(turns)} turns for {len(rollouts)} conversations; give one each")
        if sampling.temperature != rollouts.temperature:
            raise PluginError(
                f"extend at temperature {sampling.temperature}, but the turns before were drawn at "
                f"{rollouts.temperature}; one conversation has one temperature"
            )
        chat, prompts, contexts = self._policy.chat, [], []
        for row, (prompt, turn) in enumerate(zip(rollouts.prompts, turns, strict=True)):
            so_far = rollouts.tokens[row][rollouts.attend[row]].tolist()
            contexts.append(so_far + chat.turn(prompt, turn, ended=so_far[-1] in chat.ends))
            prompts.append(_after(prompt, rollouts.completions[row], turn))
        self._fit(prompts, contexts, sampling.max_tokens)
        # Numbered within their prompt, so that an answer does not depend on which other prompts are in the batch.
        seeds = seeds_of(self._seed, self._step, [f"{p.id}/{len(p.messages)}" for p in prompts], 1)
        drawn = self._decoder().draw(contexts, seeds, sampling)
        before = _continued(rollouts, self._unchosen(contexts))
        longer = self._rollouts(prompts, before, drawn, rollouts.group.tolist(), sampling.temperature)
        return dataclasses.replace(longer, recorded=rollouts.recorded)

    def recorded(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> Rollouts:
        if len(prompts) != len(answers) or not any(answers):
            raise DataError(f"{len(prompts)} prompts came with {len(answers)} lists of recorded answers; none is empty")
        chat = self._policy.chat
        group = [number for number, its in enumerate(answers) for _ in its]
        every, texts = [prompts[number] for number in group], [text for its in answers for text in its]
        encoded = [chat.encode(prompt) for prompt in prompts]  # once each, however many answers it has
        rows, ids = [encoded[number] for number in group], [chat.encode_answer(text) for text in texts]
        rooms = [self._room(prompt, row) for prompt, row in zip(every, rows, strict=True)]
        drawn = _cut(ids, rooms, chat.pad)
        rollouts = self._rollouts(every, self._unchosen(rows), drawn, group, 1.0, completions=texts)
        with torch.no_grad():
            logp = self._policy.logprobs(rollouts).float()
        if not bool(torch.isfinite(logp).all()):
            raise TrainingError("the policy's log-probs of recorded answers are NaN; its weights are damaged")
        return dataclasses.replace(rollouts, logp=logp, recorded=True)

    def _room(self, prompt: Prompt, row: Sequence[int]) -> int:
        """How many tokens an answer may have behind this prompt."""
        limit: int | None = self._policy.context
        if limit is None:
            return sys.maxsize
        if len(row) >= limit:
            raise DataError(
                f"prompt {prompt.id!r} has {len(row)} tokens, but the model's context is {limit}, which leaves no room "
                "for its answer; shorten it, or leave the row out with [prompts] map"
            )
        return limit - len(row)

    def _decoder(self) -> Decoder:
        chat = self._policy.chat
        return Decoder(self._policy.model, pad=chat.pad, ends=chat.ends, decode=chat.spell)

    def _fit(self, prompts: Sequence[Prompt], rows: Sequence[list[int]], wanted: int) -> None:
        for prompt, row in zip(prompts, rows, strict=True):
            if self._room(prompt, row) < wanted:
                raise DataError(
                    f"prompt {prompt.id!r} has {len(row)} tokens; with max_tokens = {wanted} it needs "
                    f"{len(row) + wanted}, but the model's context is {self._policy.context}; shorten it, lower "
                    "max_tokens, or leave the row out with [prompts] map"
                )

    def _unchosen(self, rows: Sequence[list[int]]) -> Context:
        tokens, attend = left_padded(rows, self._policy.chat.pad, self._policy.device)
        return Context(tokens, attend, torch.zeros_like(attend), torch.zeros(tokens.shape, device=tokens.device), None)

    def _rollouts(
        self,
        prompts: Sequence[Prompt],
        before: Context,
        drawn: Drawn,
        group: Sequence[int],
        temperature: float,
        completions: Sequence[str] | None = None,
    ) -> Rollouts:
        """Prompts flush right, answers flush left behind them, padding at both ends.

        `completions` are the texts of answers known as texts, whole even where their tokens had to be cut.
        """
        device, lengths, over = self._policy.device, drawn.lengths.tolist(), drawn.stopped.tolist()
        if completions is None:
            rows = zip(drawn.tokens.tolist(), lengths, strict=True)
            completions = [self._policy.chat.decode(tokens[:length]) for tokens, length in rows]
        within = torch.arange(drawn.tokens.shape[1]) < drawn.lengths.cpu()[:, None]
        finish: list[Finish] = ["stop" if ended else "length" for ended in over]

        def joined(left: Tensor, right: Tensor) -> Tensor:
            return torch.cat([left.to(device), right.to(device)], 1)

        return Rollouts(
            prompts=tuple(prompts),
            completions=tuple(completions),
            tokens=joined(before.tokens, drawn.tokens.where(within.to(drawn.tokens.device), self._policy.chat.pad)),
            attend=joined(before.attend, within),
            mask=joined(before.mask, within),
            logp=joined(before.logp, drawn.logp),
            group=torch.tensor(group, device=device),
            finish=tuple(finish),
            policy_version=self._policy.version,
            temperature=temperature,
            kept=_joined_supports(before, drawn, device),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """What the next answers follow, flush right in W columns: tokens, attend, mask, logp [B,W] and kept [B,W,K]."""

    tokens: Tensor
    attend: Tensor
    mask: Tensor
    logp: Tensor
    kept: Tensor | None


def _continued(rollouts: Rollouts, before: Context) -> Context:
    """`before`, whose rows begin with the rollouts' own, with what the policy chose in those marked as chosen."""
    mask, logp = before.mask.clone(), before.logp.clone()
    kept = None if rollouts.kept is None else rollouts.kept.new_full((*mask.shape, rollouts.kept.shape[-1]), -1)
    for row, here in enumerate(rollouts.attend):
        start = int(before.attend[row].int().argmax())
        place = slice(start, start + int(here.sum()))
        mask[row, place], logp[row, place] = rollouts.mask[row, here], rollouts.logp[row, here]
        if kept is not None and rollouts.kept is not None:
            kept[row, place] = rollouts.kept[row, here]
    return dataclasses.replace(before, mask=mask, logp=logp, kept=kept)


def _cut(answers: Sequence[list[int]], rooms: Sequence[int], pad: int) -> Drawn:
    """Recorded answers as if they had been drawn, each cut to its room; their log-probs are not known yet."""
    cut = [answer[:room] for answer, room in zip(answers, rooms, strict=True)]
    width = max(map(len, cut))
    tokens = torch.tensor([answer + [pad] * (width - len(answer)) for answer in cut])
    stopped = torch.tensor([len(short) == len(answer) for short, answer in zip(cut, answers, strict=True)])
    return Drawn(tokens, torch.zeros(tokens.shape), None, torch.tensor([len(answer) for answer in cut]), stopped)


def _joined_supports(before: Context, drawn: Drawn, device: torch.device) -> Tensor | None:
    """[B, W + width, K]: the supports of earlier and new answers, -1 where there is none."""
    parts = [(before.kept, before.tokens), (drawn.kept, drawn.tokens)]
    widest = max(0 if kept is None else kept.shape[-1] for kept, _ in parts)
    if not widest:
        return None
    wide = [torch.full((*tokens.shape, widest), -1, dtype=torch.int32, device=device) for _, tokens in parts]
    for (kept, _), place in zip(parts, wide, strict=True):
        if kept is not None:
            place[..., : kept.shape[-1]] = kept
    return torch.cat(wide, 1)


def _after(prompt: Prompt, answer: str, turn: str) -> Prompt:
    messages = prompt.messages or ({"role": "user", "content": prompt.text},)
    said = (*messages, {"role": "assistant", "content": answer}, {"role": "user", "content": turn})
    return Prompt(id=prompt.id, text=turn, messages=said, meta=prompt.meta)
