"""Any policy as a judge's backend: the options of a request are scored as answers to it, all in one forward pass.

An option's probability is that of the model saying it and nothing else, its end of sequence included. What was given
to the model cannot become a control token, whatever it spells.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice
from typing import Any, Literal

import torch

from rlaif_core import DataError, Failed, Policy, Prompt, Sampler, Sampling
from rlaif_core.errors import first_line
from rlaif_judges.asking import Backend, Reply, Request, alone

Manner = Literal["system", "chat", "text"]
"""What a model takes: a chat with a system message, one without, or plain text alone."""
Numbered = tuple[int, Request]
Answered = tuple[int, Reply | Failed]


class Local(Backend):
    """A policy as it is, asked `batch` requests at a time.

    `weights` is a context in which it has the weights to judge with. Where the options have less than `mass` together
    of what the model might say, its choice is none and has failed.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        identity: Mapping[str, Any],
        batch: int = 16,
        mass: float = 0.0,
        weights: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._policy, self._identity, self._weights = policy, dict(identity), weights
        self._batch, self._mass, self._manner = batch, mass, manner(policy)

    @property
    def identity(self) -> Mapping[str, Any]:
        return self._identity

    def answer(self, requests: Iterable[Numbered]) -> Iterator[Answered]:
        left = iter(requests)
        while batch := list(islice(left, self._batch)):
            kinds: dict[object, list[Numbered]] = defaultdict(list)
            for number, request in batch:
                how = request.options or (request.max_tokens, request.temperature, request.seed)
                kinds[how].append((number, request))
            for its in kinds.values():
                yield from self._alike(its)

    def _alike(self, batch: Sequence[Numbered]) -> list[Answered]:
        """Replies to requests with the same options, or to be written alike; one that is too long fails alone."""
        began = time.perf_counter()
        try:
            with self._weights(), torch.no_grad():
                replies = self._chosen(batch) if batch[0][1].options else self._written(batch)
        except DataError as error:
            if len(batch) == 1:
                return [(batch[0][0], Failed(f"the judge's model cannot read it: {first_line(error)}"))]
            return [answered for one in batch for answered in self._alike([one])]
        each = (time.perf_counter() - began) / len(batch)
        return [(number, reply(each)) for (number, _), reply in zip(batch, replies, strict=True)]

    def _chosen(self, batch: Sequence[Numbered]) -> list[Callable[[float], Reply | Failed]]:
        options = batch[0][1].options
        rollouts = self._sampler(0).recorded(
            [_prompt(request, self._manner) for _, request in batch], [options] * len(batch)
        )
        logp = rollouts.logp.double().sum(1).view(len(batch), len(options)).tolist()
        read = (rollouts.attend & ~rollouts.mask).sum(1).view(len(batch), len(options))[:, 0].tolist()
        return [self._choice(options, its, tokens) for its, tokens in zip(logp, read, strict=True)]

    def _choice(self, options: Sequence[str], logp: Sequence[float], tokens: int) -> Callable[[float], Reply | Failed]:
        top = max(logp)
        weights = [math.exp(each - top) for each in logp]
        mass = min(math.exp(top) * math.fsum(weights), 1.0)
        chosen = tuple(weight / math.fsum(weights) for weight in weights)

        def reply(seconds: float) -> Reply | Failed:
            if mass < self._mass:
                return Failed(f"only {mass:.1%} of the judge's probability was on {', '.join(options)}; lower mass?")
            text = options[chosen.index(max(chosen))]
            return Reply(text=text, probabilities=chosen, mass=mass, tokens_in=tokens, tokens_out=1, seconds=seconds)

        return reply

    def _written(self, batch: Sequence[Numbered]) -> list[Callable[[float], Reply | Failed]]:
        first = batch[0][1]
        greedy = first.temperature < 1e-3
        sampling = Sampling(
            max_tokens=first.max_tokens, temperature=1.0 if greedy else first.temperature, top_k=1 if greedy else 0
        )
        # Once each: a sampler gives a prompt that comes twice in a batch another answer.
        prompts = {(its := _prompt(request, self._manner)).id: its for _, request in batch}
        drawn = self._sampler(first.seed).sample(list(prompts.values()), sampling)
        read, wrote = (drawn.attend & ~drawn.mask).sum(1).tolist(), drawn.mask.sum(1).tolist()
        cut = [why == "length" for why in drawn.finish]
        said = dict(zip(prompts, zip(drawn.completions, cut, read, wrote, strict=True), strict=True))
        return [partial(_text, *said[request.key({})]) for _, request in batch]

    def _sampler(self, seed: int) -> Sampler:
        return self._policy.sampler(seed=seed, step=0, group=1)


def _text(text: str, cut: bool, tokens_in: int, tokens_out: int, seconds: float) -> Reply:
    return Reply(text=text, cut=cut, tokens_in=tokens_in, tokens_out=tokens_out, seconds=seconds)


def manner(policy: Policy) -> Manner:
    """How the policy can be talked to."""
    chat = getattr(policy, "chat", None)
    if chat is None:
        return "system"
    if not chat.use_template:
        return "text"
    said = ({"role": "system", "content": "a"}, {"role": "user", "content": "b"})
    try:
        chat.encode(Prompt(id="manner", messages=said))
    except DataError:
        return "chat"
    return "system"


def _prompt(request: Request, how: Manner) -> Prompt:
    """The request as a prompt; its id, and so what is drawn, depends on nothing but what it says."""
    said = [(message.role, message.content) for message in request.messages]
    if request.options:
        said[-1] = (said[-1][0], f"{said[-1][1]} {alone(request.options)}")
    if how == "text":
        return Prompt(id=request.key({}), text="\n\n".join(content for _, content in said) + "\n\nAnswer: ")
    if how == "chat" and said[0][0] == "system":
        said = [(said[1][0], f"{said[0][1]}\n\n{said[1][1]}"), *said[2:]]
    return Prompt(id=request.key({}), messages=tuple({"role": role, "content": content} for role, content in said))
