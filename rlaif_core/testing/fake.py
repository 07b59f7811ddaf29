"""A policy small enough for a unit test: real sampling, real gradients, some hundred parameters, no transformers.

It honours the whole `Policy` and `Sampler` contract, so that a plugin's tests meet what a run would hand it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from rlaif_core.errors import CheckpointError, ConfigError
from rlaif_core.protocols import Critic, Forward, Policy, Sampler, Sampling, State
from rlaif_core.sampling import pick, seeds_of, uniforms
from rlaif_core.types import Finish, Prompt, Rollouts

WORDS = ("yes", "no", "please", "thanks", "maybe", "red", "green", "blue", "one", "two", "and", "or", "is", "it")
EOS, UNKNOWN = 0, 1


class FakeModel(torch.nn.Module):
    """The next word from the last word and the mean of all words so far: [B,T] -> hidden [B,T,H], logits [B,T,V]."""

    def __init__(self, vocabulary: int, hidden: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, hidden)
        self.context = torch.nn.Linear(hidden, hidden, bias=False)
        self.head = torch.nn.Linear(hidden, vocabulary)

    def forward(self, tokens: Tensor, attend: Tensor) -> tuple[Tensor, Tensor]:
        words = self.embedding(tokens) * attend[..., None]
        seen = attend.cumsum(1).clamp(min=1)[..., None]
        hidden = torch.tanh(words + self.context(words.cumsum(1) / seen))
        return hidden, self.head(hidden)


class FakePolicy(Policy):
    """A word-level language model: `words` are its vocabulary, others become "<unk>"; padding is the end of sequence.

    The same `seed` gives the same weights. It learns with the real optimisers at learning rates near 0.1.
    """

    def __init__(self, words: Sequence[str] = WORDS, *, hidden: int = 8, seed: int = 0) -> None:
        self.words = ("<eos>", "<unk>", *words)
        self.hidden_size = hidden
        self.version = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module: torch.nn.Module = FakeModel(len(self.words), hidden)
        self._ids = {word: index for index, word in enumerate(self.words)}
        self._reference: dict[str, Tensor] | None = None

    def encode(self, text: str) -> list[int]:
        """Word ids of `text`, split at blanks."""
        return [self._ids.get(word, UNKNOWN) for word in text.split()]

    def decode(self, ids: Sequence[int]) -> str:
        """The words of `ids`, the end of sequence left out."""
        return " ".join(self.words[index] for index in ids if index != EOS)

    def sampler(self, *, seed: int, step: int, group: int) -> FakeSampler:
        return FakeSampler(self, seed, step, group)

    def forward(self, rollouts: Rollouts, *, entropy: bool = False, hidden: bool = False) -> Forward:
        states, logits = self.module(rollouts.tokens, rollouts.attend)
        log_probs = _distribution(_before(logits), rollouts)
        mask = rollouts.mask
        spread = -(log_probs.exp() * log_probs).sum(-1).where(mask, 0.0) if entropy else None
        if not hidden:
            return Forward(_chosen(log_probs, rollouts), spread)
        final = (torch.arange(mask.shape[1]) * rollouts.attend).amax(1)
        last = states[torch.arange(len(rollouts)), final]
        return Forward(_chosen(log_probs, rollouts), spread, _before(states) * mask[..., None], last)

    def keep_reference(self) -> None:
        if self._reference is None:
            self._reference = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}

    def reference_logprobs(self, rollouts: Rollouts, *, hidden: bool = False) -> Tensor:  # it has only one way
        if self._reference is None:
            raise ConfigError("reference_logprobs was asked for, but nobody called keep_reference before training")
        with torch.no_grad():
            inputs = (rollouts.tokens, rollouts.attend)
            _, logits = torch.func.functional_call(self.module, self._reference, inputs)
            return _chosen(_distribution(_before(logits), rollouts), rollouts)

    def state_dict(self) -> State:
        module = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
        return {"module": module, "version": self.version, "reference": dict(self._reference or {})}

    def load_state_dict(self, state: State) -> None:
        self.module.load_state_dict(state["module"])
        self.version = int(state["version"])
        self._reference = dict(state["reference"]) or None

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.state_dict()["module"], folder / "model.safetensors")
        (folder / "words.json").write_text(json.dumps({"words": self.words[2:], "hidden": self.hidden_size}))

    @classmethod
    def load(cls, folder: Path) -> FakePolicy:
        """The policy that `save` wrote."""
        from safetensors.torch import load_file

        if not (folder / "words.json").is_file():
            raise CheckpointError(f"{folder} holds no FakePolicy; save one there first")
        policy = cls(**json.loads((folder / "words.json").read_text()))
        policy.module.load_state_dict(load_file(folder / "model.safetensors"))
        return policy


@dataclass
class _Context:
    """Tokens so far: which were chosen, their log-probs, and the support that each had."""

    tokens: list[int] = field(default_factory=list)
    mask: list[bool] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)
    kept: list[list[int]] = field(default_factory=list)


@dataclass
class _Row:
    """One conversation in the making."""

    prompt: Prompt
    group: int
    context: _Context = field(default_factory=_Context)
    completion: str = ""
    finish: Finish = "stop"

    def add(self, token: int, *, chosen: bool, logp: float = 0.0, kept: Sequence[int] = ()) -> None:
        self.context.tokens.append(token)
        self.context.mask.append(chosen)
        self.context.logp.append(logp)
        self.context.kept.append(list(kept))


class FakeSampler(Sampler):
    """Samples a `FakePolicy` row by row, so that an answer does not depend on which others are drawn with it."""

    def __init__(self, policy: FakePolicy, seed: int, step: int, group: int) -> None:
        self._policy, self._seed, self._step, self._group = policy, seed, step, group

    @property
    def group(self) -> int:
        return self._group

    def sample(self, prompts: Sequence[Prompt], sampling: Sampling) -> Rollouts:
        seeds = seeds_of(self._seed, self._step, [prompt.id for prompt in prompts], self._group)
        rows = [self._opened(prompt, label) for label, prompt in enumerate(prompts) for _ in range(self._group)]
        return self._answered(rows, seeds, sampling)

    def extend(self, rollouts: Rollouts, turns: Sequence[str], sampling: Sampling) -> Rollouts:
        if sampling.temperature != rollouts.temperature:
            raise ConfigError("every turn of a conversation must be sampled at one temperature")
        rows, names = list(_unpacked(rollouts)), []
        for row, turn in zip(rows, turns, strict=True):
            past = row.prompt.messages or ({"role": "user", "content": row.prompt.text},)
            now = ({"role": "assistant", "content": row.completion}, {"role": "user", "content": turn})
            row.prompt = replace(row.prompt, text=turn, messages=(*past, *now))
            self._tell(row, turn)
            names.append(f"{row.prompt.id}/{len(past)}")
        longer = self._answered(rows, seeds_of(self._seed, self._step, names, 1), sampling)
        return replace(longer, recorded=rollouts.recorded)

    def recorded(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> Rollouts:
        rows = []
        for label, (prompt, its) in enumerate(zip(prompts, answers, strict=True)):
            for answer in its:
                rows.append(self._opened(prompt, label))
                rows[-1].completion = answer
                for token in (*self._policy.encode(answer), EOS):
                    rows[-1].add(token, chosen=True)
        unscored = _packed(rows, self._policy.version, 1.0)
        with torch.no_grad():
            return replace(unscored, logp=self._policy.logprobs(unscored).float(), recorded=True)

    def _opened(self, prompt: Prompt, label: int) -> _Row:
        row = _Row(prompt, label)
        self._tell(row, " ".join(message["content"] for message in prompt.messages) or prompt.text)
        return row

    def _tell(self, row: _Row, text: str) -> None:
        for token in self._policy.encode(text) or [UNKNOWN]:
            row.add(token, chosen=False)

    def _answered(self, rows: Sequence[_Row], seeds: Sequence[int], sampling: Sampling) -> Rollouts:
        for row, numbers in zip(rows, uniforms(seeds, sampling.max_tokens), strict=True):
            start, row.finish = len(row.context.tokens), "length"
            for number in numbers:
                token, logp, kept = pick(self._next(row.context.tokens), number[None], sampling)
                row.add(int(token), chosen=True, logp=float(logp), kept=[] if kept is None else kept[0].tolist())
                row.completion = self._policy.decode(row.context.tokens[start:])
                if token == EOS or any(text in row.completion for text in sampling.stop):
                    row.finish = "stop"
                    break
        return _packed(rows, self._policy.version, sampling.temperature)

    def _next(self, ids: Sequence[int]) -> Tensor:
        """[1,V] logits of the word that comes next."""
        with torch.no_grad():
            _, logits = self._policy.module(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool))
        return torch.as_tensor(logits[:, -1])


class FakeCritic(Critic):
    """A critic that values every chosen token by its id, so that a credit's arithmetic can be followed by hand."""

    gives = frozenset({"values"})

    def values(self, rollouts: Rollouts) -> Tensor:
        return (rollouts.tokens.float() / 10).where(rollouts.mask, 0.0)

    def values_after(self, rollouts: Rollouts) -> Tensor:
        return self.values(rollouts).amax(1)


def _before(predicted: Tensor) -> Tensor:
    """Move what was predicted at t-1 to the token t that it is about: [B,T,...] -> [B,T,...]."""
    return torch.cat([torch.zeros_like(predicted[:, :1]), predicted[:, :-1]], 1)


def _distribution(logits: Tensor, rollouts: Rollouts) -> Tensor:
    """[B,T,V] log-probabilities of the distribution that the tokens were drawn from."""
    scaled = logits / rollouts.temperature
    if rollouts.kept is not None:
        rows, length, size = logits.shape
        slots = rollouts.kept.where(rollouts.kept >= 0, size)
        allowed = torch.zeros(rows, length, size + 1, dtype=torch.bool).scatter(-1, slots, True)[..., :size]
        everywhere = ~allowed.any(-1, keepdim=True)
        scaled = scaled.masked_fill(~(allowed | everywhere), torch.finfo(scaled.dtype).min)
    return scaled.log_softmax(-1)


def _chosen(log_probs: Tensor, rollouts: Rollouts) -> Tensor:
    return log_probs.gather(-1, rollouts.tokens[..., None]).squeeze(-1).where(rollouts.mask, 0.0)


def _packed(rows: Sequence[_Row], version: int, temperature: float) -> Rollouts:
    contexts = [row.context for row in rows]
    length = max((len(context.tokens) for context in contexts), default=0)
    width = max((len(kept) for context in contexts for kept in context.kept), default=0)

    def padded(name: str, empty: object) -> list[list[object]]:
        return [[*getattr(its, name), *[empty] * (length - len(its.tokens))] for its in contexts]

    def supports(its: _Context) -> list[list[int]]:
        return [[*ids, *[-1] * (width - len(ids))] for ids in [*its.kept, *[[]] * (length - len(its.tokens))]]

    return Rollouts(
        prompts=tuple(row.prompt for row in rows),
        completions=tuple(row.completion for row in rows),
        tokens=torch.tensor(padded("tokens", EOS), dtype=torch.int64),
        attend=torch.tensor([[t < len(its.tokens) for t in range(length)] for its in contexts], dtype=torch.bool),
        mask=torch.tensor(padded("mask", False), dtype=torch.bool),
        logp=torch.tensor(padded("logp", 0.0), dtype=torch.float32),
        group=torch.tensor([row.group for row in rows], dtype=torch.int64),
        finish=tuple(row.finish for row in rows),
        policy_version=version,
        temperature=temperature,
        kept=torch.tensor([supports(its) for its in contexts], dtype=torch.int64) if width else None,
    )


def _unpacked(rollouts: Rollouts) -> Iterator[_Row]:
    for index, prompt in enumerate(rollouts.prompts):
        real = rollouts.attend[index]
        kept = [[]] * int(real.sum()) if rollouts.kept is None else rollouts.kept[index][real].tolist()
        context = _Context(
            rollouts.tokens[index][real].tolist(),
            rollouts.mask[index][real].tolist(),
            rollouts.logp[index][real].tolist(),
            [[token for token in ids if token >= 0] for ids in kept],
        )
        yield _Row(prompt, int(rollouts.group[index]), context, rollouts.completions[index], rollouts.finish[index])
