"""A causal language model of transformers as a `Policy`: any architecture, from a folder or a hub id, LoRA included.

This is the only file of the core that imports transformers. Dropout is off throughout (the module stays in eval mode),
so that the log-probs of one set of weights agree wherever they are computed.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

import rlaif_kernels as rk
from rlaif_core.chat import Chat
from rlaif_core.errors import CheckpointError, ConfigError
from rlaif_core.protocols import Forward, State
from rlaif_core.rollout import PolicySampler
from rlaif_core.sampling import takes
from rlaif_core.types import Rollouts


class TransformersPolicy:
    """A transformers causal language model in training.

    model: a folder or a hub id. dtype: of the weights ("float32", "bfloat16", "auto"). device: "auto" takes a GPU
    where there is one. chat: whether prompts go through the chat template (default: where the tokenizer has one).
    lora: {r, alpha, dropout, targets} trains low-rank adapters only; adapter: a trained adapter to go on from.
    eos: the end-of-sequence token, for a tokenizer that names none. attention: an `attn_implementation` of transformers.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str = "auto",
        dtype: str = "float32",
        chat: bool | None = None,
        lora: dict[str, Any] | None = None,
        adapter: str | None = None,
        eos: str | None = None,
        attention: str | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        with _loading(str(model)):
            source = {"revision": revision, "trust_remote_code": trust_remote_code}
            tokenizer = AutoTokenizer.from_pretrained(str(model), **source)
            module = AutoModelForCausalLM.from_pretrained(
                str(model), dtype=_dtype(dtype), use_safetensors=True, attn_implementation=attention, **source
            )
        self.context = getattr(module.config.get_text_config(), "max_position_embeddings", None)
        self.hidden_size = int(module.config.get_text_config().hidden_size)
        self.chat = Chat(tokenizer, module.generation_config, use_template=chat, eos=eos)
        rows = module.get_input_embeddings().weight.shape[0]
        if len(tokenizer) > rows:
            raise ConfigError(
                f"the tokenizer of {model} has {len(tokenizer)} tokens, but its model only {rows} embeddings; "
                "they do not belong together, or the model needs resize_token_embeddings"
            )
        self.version = 0
        self._reference: torch.nn.Module | str | None = None
        self.module: torch.nn.Module = _adapted(module, lora, adapter).to(self.device).eval()
        self._adapters = "trained" if adapter else "fresh" if lora else "none"
        self._origin = _fingerprint(self.module)

    def sampler(self, *, seed: int, step: int, group: int) -> PolicySampler:
        return PolicySampler(self, seed=seed, step=step, group=group)

    def logprobs(self, rollouts: Rollouts) -> Tensor:
        return self.forward(rollouts).logp

    def forward(self, rollouts: Rollouts, *, entropy: bool = False, hidden: bool = False) -> Forward:
        return self._forward(self.module, rollouts, entropy=entropy, hidden=hidden)

    def _forward(self, module: Any, rollouts: Rollouts, *, entropy: bool = False, hidden: bool = False) -> Forward:
        """The log-prob of the token at t comes from the logits at t - 1, divided by the sampling temperature."""
        used = rollouts.attend.any(0).nonzero()[:, 0]
        left, right = int(used[0]), int(used[-1]) + 1
        tokens, attend = (x[:, left:right].to(self.device) for x in (rollouts.tokens, rollouts.attend))
        mask = rollouts.mask[:, left:right].to(self.device)
        first = int(mask.any(0).nonzero()[0, 0]) if bool(mask.any()) else tokens.shape[1] - 1
        options: dict[str, Any] = {}
        if takes(module, "logits_to_keep"):
            options["logits_to_keep"] = tokens.shape[1] - first + 1
        if takes(module, "position_ids"):
            options["position_ids"] = (attend.cumsum(1) - 1).clamp(min=0)
        with _last_hidden(module) if hidden else contextlib.nullcontext([]) as seen:
            logits = module(
                input_ids=tokens, attention_mask=None if bool(attend.all()) else attend, use_cache=False, **options
            ).logits
        logits = logits[:, -(tokens.shape[1] - first + 1) : -1]
        chosen = mask[:, first:]
        targets = tokens[:, first:][chosen]
        logp, spread = self._score(logits[chosen], targets, rollouts, (left + first, right), entropy)

        def scattered(values: Tensor) -> Tensor:
            full = values.new_zeros(*rollouts.tokens.shape, *values.shape[1:])
            return full.index_put(tuple((mask.nonzero() + torch.tensor([0, left], device=self.device)).T), values)

        states = seen[0][:, -(tokens.shape[1] - first + 1) :] if hidden else None
        return Forward(
            scattered(logp),
            scattered(spread) if spread is not None else None,
            scattered(states[:, :-1][chosen]) if states is not None else None,
            _at_last(states, attend[:, first - 1 :]) if states is not None else None,
        )

    def _score(
        self, logits: Tensor, targets: Tensor, rollouts: Rollouts, columns: tuple[int, int], entropy: bool
    ) -> tuple[Tensor, Tensor | None]:
        """(logp [N], entropy [N] or None) of the chosen tokens over the support that they were drawn from."""
        if rollouts.kept is not None:
            here = slice(*columns)
            kept = rollouts.kept[:, here].to(self.device)[rollouts.mask[:, here].to(self.device)].long()
            # Positions without a list were drawn from the whole vocabulary; row by row both occur only after `extend`.
            logits = _only_kept(logits, kept)
        said = rk.token_logprobs(logits, targets, temperature=rollouts.temperature, entropy=entropy)
        return said if isinstance(said, tuple) else (said, None)

    def keep_reference(self) -> None:
        """Remember the policy as it is at the start of training: a copy, or for fresh adapters nothing at all."""
        if self._reference is None and self._adapters == "fresh":
            self._reference = "adapters off"
        elif self._reference is None:
            frozen = {id(p): p for p in self.module.parameters() if not p.requires_grad}  # shared, not copied
            self._reference = copy.deepcopy(self.module, frozen).requires_grad_(False)

    def reference_logprobs(self, rollouts: Rollouts) -> Tensor:
        if self._reference is None:
            raise ConfigError("no reference was kept; the optimiser must call policy.keep_reference() in prepare")
        with torch.no_grad():
            if isinstance(self._reference, str):
                with self.module.disable_adapter():  # type: ignore[operator]
                    return self._forward(self.module, rollouts).logp
            return self._forward(self._reference, rollouts).logp

    def state_dict(self) -> State:
        """What training changes, and the fingerprint of what it started from."""
        weights = {name: p.detach() for name, p in self.module.named_parameters() if p.requires_grad}
        buffers = {name: b for name, b in self.module.named_buffers() if name in _persistent(self.module)}
        return {"version": self.version, "origin": self._origin, "weights": weights, "buffers": buffers}

    def load_state_dict(self, state: State) -> None:
        """Take up saved weights in place; the reference stays what the run started from."""
        if state["origin"] != self._origin:
            raise CheckpointError(
                "the model that the policy starts from is not the one that the checkpoint was made with; "
                "restore its folder, or start a new run"
            )
        own = {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}
        with torch.no_grad():
            for name, value in {**state["weights"], **state["buffers"]}.items():
                own[name].copy_(value)
        self.version = state["version"]

    def save(self, folder: Path) -> None:
        """Write an ordinary transformers folder; trained adapters are merged into it and also kept beside it."""
        module: Any = self.module
        if self._adapters != "none":
            module.save_pretrained(folder / "adapter")
            module = copy.deepcopy(module).merge_and_unload()
        module.save_pretrained(folder)
        self.chat.tokenizer.save_pretrained(folder)


def _dtype(name: str) -> Any:
    if name == "auto":
        return "auto"
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ConfigError(f"[policy] dtype is {name!r}, but must be 'auto', 'float32', 'bfloat16' or 'float16'")
    return dtype


@contextlib.contextmanager
def _loading(model: str) -> Iterator[None]:
    verbosity, bars = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(f"[policy] model {model!r} cannot be loaded: {first}") from error
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers.logging.enable_progress_bar()


def _adapted(module: Any, lora: dict[str, Any] | None, adapter: str | None) -> Any:
    if lora is None and adapter is None:
        return module
    try:
        import peft
    except ImportError as error:
        raise ConfigError("[policy] lora and adapter need peft: pip install 'rlaif-core[lora]'") from error
    if adapter is not None:
        return peft.PeftModel.from_pretrained(module, adapter, is_trainable=True)
    known = {"r": "r", "alpha": "lora_alpha", "dropout": "lora_dropout", "targets": "target_modules"}
    options = {"targets": "all-linear", **(lora or {})}
    if unknown := set(options) - set(known):
        raise ConfigError(f"[policy] lora has no option {sorted(unknown)[0]!r}. Options: {', '.join(known)}")
    named = {known[name]: value for name, value in options.items()}
    return peft.get_peft_model(module, peft.LoraConfig(task_type="CAUSAL_LM", **named))


@contextlib.contextmanager
def _last_hidden(module: Any) -> Iterator[list[Tensor]]:
    """Catch what goes into the output embeddings: the trunk's last hidden state, whatever the architecture calls it."""
    seen: list[Tensor] = []
    hook = module.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        hook.remove()


def _at_last(states: Tensor, attend: Tensor) -> Tensor:
    """[B,H]: the state at each row's last attended position."""
    place = attend.shape[1] - 1 - attend.flip(1).int().argmax(1)
    return states[torch.arange(len(states), device=states.device), place]


def _only_kept(logits: Tensor, kept: Tensor) -> Tensor:
    """logits [N,V] with every token outside kept [N,K] (padded with -1) at -inf; rows without a list stay whole."""
    allowed = torch.zeros(logits.shape[0], logits.shape[1] + 1, dtype=torch.bool, device=logits.device)
    allowed.scatter_(1, kept.where(kept >= 0, logits.shape[1]), True)
    allowed = allowed[:, :-1] | (kept < 0).all(1, keepdim=True)
    return logits.masked_fill(~allowed, -torch.inf)


def _persistent(module: torch.nn.Module) -> frozenset[str]:
    return frozenset(module.state_dict()) & frozenset(name for name, _ in module.named_buffers())


def _fingerprint(module: torch.nn.Module) -> str:
    """A quick hash of all parameters: their names, shapes, and values at both ends."""
    digest = hashlib.sha256()
    for name, parameter in module.named_parameters():
        flat = parameter.detach().flatten()
        ends = torch.cat([flat[:64], flat[-64:]]).double().cpu()
        digest.update(f"{name}{tuple(parameter.shape)}".encode() + ends.numpy().tobytes())
    return digest.hexdigest()
