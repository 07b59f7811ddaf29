"""The sampler of a transformers policy: prompts to `Rollouts`, token-in/token-out, never decoded and encoded again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rlaif_core.errors import DataError, PluginError
from rlaif_core.protocols import Sampling
from rlaif_core.sampling import Context, Decoder, Drawn, seeds_of
from rlaif_core.types import Finish, Prompt, Rollouts

if TYPE_CHECKING:
    from rlaif_core.policy import TransformersPolicy


class PolicySampler:
    """Draws from the policy's current weights; the same (seed, step, prompt, sample) draws the same answer."""

    def __init__(self, policy: TransformersPolicy, *, seed: int, step: int, group: int) -> None:
        self._policy, self._seed, self._step, self.group = policy, seed, step, group

    def sample(self, prompts: Sequence[Prompt], sampling: Sampling) -> Rollouts:
        chat = self._policy.chat
        rows = [chat.encode(prompt) for prompt in prompts]
        self._fit(prompts, rows, sampling.max_tokens)
        seeds = seeds_of(self._seed, self._step, [prompt.id for prompt in prompts], self.group)
        drawn = self._decoder().draw(rows, seeds, sampling, share=self.group)
        contexts = [Context(list(row)) for row in rows for _ in range(self.group)]
        group = [number for number in range(len(prompts)) for _ in range(self.group)]
        every = [prompt for prompt in prompts for _ in range(self.group)]
        return self._rollouts(every, contexts, drawn, group, sampling.temperature)

    def extend(self, rollouts: Rollouts, turns: Sequence[str], sampling: Sampling) -> Rollouts:
        if len(turns) != len(rollouts):
            raise PluginError(f"extend got {len(turns)} turns for {len(rollouts)} conversations; give one each")
        if sampling.temperature != rollouts.temperature:
            raise PluginError("extend must sample at the temperature of the turns before it")
        contexts = _contexts(rollouts)
        prompts = []
        for row, (prompt, turn) in enumerate(zip(rollouts.prompts, turns, strict=True)):
            ended = contexts[row].tokens[-1] in self._policy.chat.ends
            contexts[row] = _appended(contexts[row], self._policy.chat.turn(prompt, turn, ended=ended))
            prompts.append(_after(prompt, rollouts.completions[row], turn))
        self._fit(prompts, [context.tokens for context in contexts], sampling.max_tokens)
        keys = [f"{p.id}/{len(p.messages)}/{row}" for row, p in enumerate(prompts)]
        drawn = self._decoder().draw([c.tokens for c in contexts], seeds_of(self._seed, self._step, keys, 1), sampling)
        return self._rollouts(prompts, contexts, drawn, rollouts.group.tolist(), sampling.temperature)

    def recorded(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> Rollouts:
        chat, limit = self._policy.chat, self._policy.context
        every = [prompt for prompt, its in zip(prompts, answers, strict=True) for _ in its]
        group = [number for number, its in enumerate(answers) for _ in its]
        texts = [text for its in answers for text in its]
        contexts, drawn = [], []
        for prompt, text in zip(every, texts, strict=True):
            row, answer = chat.encode(prompt), chat.encode_answer(text)
            room = len(answer) if limit is None else limit - len(row)
            if room < 1:
                raise DataError(f"prompt {prompt.id!r} has {len(row)} tokens, which leaves no room for its answer in {limit}")
            contexts.append(Context(row))
            drawn.append(Drawn(answer[:room], [0.0] * len(answer[:room]), [], room >= len(answer)))
        rollouts = self._rollouts(every, contexts, drawn, group, 1.0, completions=texts)
        with torch.no_grad():
            logp = self._policy.logprobs(rollouts)
        return _with_logp(rollouts, logp)

    def _decoder(self) -> Decoder:
        chat = self._policy.chat
        return Decoder(self._policy.module, pad=chat.pad, ends=chat.ends, decode=chat.decode)

    def _fit(self, prompts: Sequence[Prompt], rows: Sequence[list[int]], wanted: int) -> None:
        limit = self._policy.context
        for prompt, row in zip(prompts, rows, strict=True):
            if limit is not None and len(row) + wanted > limit:
                raise DataError(
                    f"prompt {prompt.id!r} has {len(row)} tokens; with max_tokens = {wanted} it needs {len(row) + wanted}, "
                    f"but the model's context is {limit}; shorten it, lower max_tokens, or leave the row out "
                    "with [prompts] map"
                )

    def _rollouts(
        self,
        prompts: Sequence[Prompt],
        contexts: Sequence[Context],
        drawn: Sequence[Drawn],
        group: Sequence[int],
        temperature: float,
        completions: Sequence[str] | None = None,
    ) -> Rollouts:
        """Prompts flush right, answers flush left behind them, padding at both ends."""
        before = max(len(context.tokens) for context in contexts)
        after = max(len(answer.tokens) for answer in drawn)
        shape, device = (len(drawn), before + after), self._policy.device
        tokens = torch.full(shape, self._policy.chat.pad)
        attend, mask = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
        logp = torch.zeros(shape)
        widest = max([len(kept) for answer in drawn for kept in answer.kept] + [len(k) for c in contexts for k in c.kept] + [0])
        kept = torch.full((*shape, widest), -1, dtype=torch.int32) if widest else None
        for row, (context, answer) in enumerate(zip(contexts, drawn, strict=True)):
            start, end = before - len(context.tokens), before + len(answer.tokens)
            tokens[row, start:end] = torch.tensor(context.tokens + answer.tokens)
            attend[row, start:end] = True
            mask[row, start:end] = torch.tensor(context.mask + [True] * len(answer.tokens))
            logp[row, start:end] = torch.tensor(context.logp + answer.logp)
            if kept is not None:
                for place, support in enumerate(context.kept + answer.kept, start):
                    kept[row, place, : len(support)] = torch.tensor(support, dtype=torch.int32)
        finish: list[Finish] = ["stop" if answer.stopped else "length" for answer in drawn]
        return Rollouts(
            prompts=tuple(prompts),
            completions=tuple(completions or (self._policy.chat.decode(answer.tokens) for answer in drawn)),
            tokens=tokens.to(device),
            attend=attend.to(device),
            mask=mask.to(device),
            logp=logp.to(device),
            group=torch.tensor(list(group), device=device),
            finish=tuple(finish),
            policy_version=self._policy.version,
            temperature=temperature,
            kept=kept.to(device) if kept is not None else None,
        )


def _contexts(rollouts: Rollouts) -> list[Context]:
    """Each conversation as lists, padding removed."""
    contexts = []
    for row in range(len(rollouts)):
        here = rollouts.attend[row]
        kept = [] if rollouts.kept is None else rollouts.kept[row][here].tolist()
        contexts.append(
            Context(
                rollouts.tokens[row][here].tolist(),
                rollouts.mask[row][here].tolist(),
                rollouts.logp[row][here].tolist(),
                [[token for token in support if token >= 0] for support in kept],
            )
        )
    return contexts


def _appended(context: Context, tokens: list[int]) -> Context:
    """The conversation with tokens that the policy did not choose behind it."""
    return Context(context.tokens + tokens, list(context.mask), list(context.logp), list(context.kept))


def _after(prompt: Prompt, answer: str, turn: str) -> Prompt:
    messages = prompt.messages or ({"role": "user", "content": prompt.text},)
    said = (*messages, {"role": "assistant", "content": answer}, {"role": "user", "content": turn})
    return Prompt(id=prompt.id, text=turn, messages=said, meta=prompt.meta)


def _with_logp(rollouts: Rollouts, logp: Tensor) -> Rollouts:
    import dataclasses

    return dataclasses.replace(rollouts, logp=logp)
