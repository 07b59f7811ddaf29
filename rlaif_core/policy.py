"""A causal language model of transformers as a `Policy`: any architecture, from a folder or a hub id, LoRA included.

This is the only file of the core that imports transformers. Dropout is off throughout (the module stays in eval mode),
so that the log-probs of one set of weights agree wherever they are computed.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import hashlib
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlaif_core.causal import CausalModel
from rlaif_core.chat import Chat
from rlaif_core.errors import CheckpointError, ConfigError, first_line
from rlaif_core.protocols import Forward, State
from rlaif_core.rollout import PolicySampler
from rlaif_core.scoring import score
from rlaif_core.types import Rollouts
from rlaif_kernels.dense import accelerate


class TransformersPolicy:
    """A transformers causal language model in training.

    model: a folder or a hub id. dtype: of the weights ("float32", "bfloat16", "auto"). device: "auto" takes a GPU
    where there is one. chat: whether prompts go through the chat template (default: where the tokenizer has one); in
    neither case can a text write control tokens. lora: {r, alpha, targets} trains low-rank adapters only;
    adapter: a trained adapter to go on from. eos: the end-of-sequence token, for a tokenizer that names none.
    attention: an `attn_implementation` of transformers. Linear layers go through oneDNN where torch's own way is slow
    (`rlaif_kernels.dense`) and generation through C++ where it can (`rlaif_kernels.llama`), unless `rk.using("torch")`.
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
        self.device = device_of(device, "[policy] ")
        source = {"revision": revision, "trust_remote_code": trust_remote_code}
        tokenizer, module = _loaded(_place(str(model)), dtype=_dtype(dtype), attn_implementation=attention, **source)
        self.context = getattr(module.config.get_text_config(), "max_position_embeddings", None)
        self.hidden_size = int(module.get_output_embeddings().weight.shape[1])
        self.chat = Chat(tokenizer, module.generation_config, use_template=chat, eos=eos)
        rows = module.get_input_embeddings().weight.shape[0]
        if (tokens := max(tokenizer.get_vocab().values()) + 1) > rows:
            raise ConfigError(
                f"the tokenizer of {model} has {tokens} tokens, but its model only {rows} embeddings; "
                "they do not belong together, or the model needs resize_token_embeddings"
            )
        self.version = 0
        self._reference: CausalModel | str | None = None
        self.module: torch.nn.Module = _adapted(module, lora, adapter).to(self.device).eval()
        accelerate(self.module)
        self.model = CausalModel(self.module)
        self._adapters = "trained" if adapter else "fresh" if lora else "none"
        self._origin = fingerprint(self.module, tokenizer, fresh=self._adapters == "fresh")

    def sampler(self, *, seed: int, step: int, group: int) -> PolicySampler:
        return PolicySampler(self, seed=seed, step=step, group=group)

    def logprobs(self, rollouts: Rollouts) -> Tensor:
        return self.forward(rollouts).logp

    def forward(self, rollouts: Rollouts, *, entropy: bool = False, hidden: bool = False) -> Forward:
        return score(self.model, rollouts, entropy=entropy, hidden=hidden)

    def keep_reference(self) -> None:
        """Remember the policy as it is at the start of training: a copy, or for fresh adapters nothing at all."""
        if self._reference is None and self._adapters == "fresh":
            self._reference = "adapters off"
        elif self._reference is None:
            frozen = {id(p): p for p in self.module.parameters() if not p.requires_grad}  # shared, not copied
            copied = copy.deepcopy(self.module, frozen).requires_grad_(False)
            self._reference = CausalModel(copied)

    def reference_logprobs(self, rollouts: Rollouts, *, hidden: bool = False) -> Tensor:
        if self._reference is None:
            raise ConfigError("no reference was kept; the optimiser must call policy.keep_reference() in prepare")
        with torch.no_grad():
            if isinstance(self._reference, str):
                with self.module.disable_adapter():  # type: ignore[operator]
                    return score(self.model, rollouts, hidden=hidden).logp
            return score(self._reference, rollouts, hidden=hidden).logp

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
        with quiet(), _serialising():
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


def device_of(name: str, table: str = "") -> torch.device:
    """The device of that name; of "auto", the GPU if there is one. A complaint begins with `table`."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"{table}device {name!r} cannot be used here: {first_line(error)}") from error


def _loaded(model: str, **options: Any) -> tuple[Any, Any]:
    """(tokeniser, module) of a folder or hub id; weights from safetensors alone, and all of them."""
    source = {name: options[name] for name in ("revision", "trust_remote_code")}
    where = "" if Path(model).is_dir() else f" (there is no such folder in {Path.cwd()}, so the hub was asked)"
    with _loading(f"the tokenizer of model {model!r}{where}"):
        tokenizer = AutoTokenizer.from_pretrained(model, **source)
    with _loading(f"model {model!r}"):
        module, found = AutoModelForCausalLM.from_pretrained(
            model, use_safetensors=True, output_loading_info=True, **options
        )
    if missing := sorted(found["missing_keys"]):
        raise ConfigError(
            f"[policy] model {model!r} lacks weights that a language model of its kind has: {', '.join(missing[:3])}"
            f"{f' and {len(missing) - 3} more' if len(missing) > 3 else ''}; it is incomplete, or no language model"
        )
    return tokenizer, module


def _place(model: str) -> str:
    """The folder or hub id; says what is wrong with a folder before the libraries take its name for a hub id."""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        if model.startswith((".", "/", "~")) or len(folder.parts) > 2:
            raise ConfigError(f"[policy] model: there is no folder {model!r}")
        return model
    if not (folder / "config.json").is_file():
        raise ConfigError(f"[policy] model: the folder {model!r} holds no model, for it has no config.json")
    if not any(folder.glob("*.safetensors")):
        raise ConfigError(
            f"[policy] model: the folder {model!r} has no .safetensors weights; pickled ones (.bin, .pt) are not "
            "loaded, since they can run code: convert them where you trust them, with save_pretrained"
        )
    return str(folder)


@contextlib.contextmanager
def _loading(what: str) -> Iterator[None]:
    try:
        with quiet():
            yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
        raise ConfigError(f"[policy] {what} cannot be loaded: {first_line(error)}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, logs or warnings of transformers and peft."""
    verbosity, bars = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        try:
            yield
        finally:
            transformers.logging.set_verbosity(verbosity)
            if bars:
                transformers.logging.enable_progress_bar()


@contextlib.contextmanager
def _serialising() -> Iterator[None]:
    """What the system refuses comes out of safetensors as a text with the error's number; make it an OSError again."""
    try:
        yield
    except SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        number = int(found[1]) if found else errno.EIO
        raise OSError(number, os.strerror(number) if found else first_line(error)) from error


def _adapted(module: Any, lora: dict[str, Any] | None, adapter: str | None) -> Any:
    if lora is None and adapter is None:
        return module
    if lora is not None and adapter is not None:
        raise ConfigError("[policy] has both lora (new adapters) and adapter (trained ones to go on from); choose one")
    try:
        import peft
    except ImportError as error:
        raise ConfigError("[policy] lora and adapter need peft: pip install 'rlaif-core[lora]'") from error
    if adapter is not None:
        with _loading(f"adapter {adapter!r}"):
            return peft.PeftModel.from_pretrained(module, adapter, is_trainable=True)
    known = {"r": "r", "alpha": "lora_alpha", "targets": "target_modules"}
    options = {"targets": "all-linear", **(lora or {})}
    if dropout := options.pop("dropout", 0):
        raise ConfigError(
            f"[policy] lora has dropout = {dropout}, but there is none in training: the log-probs that are trained "
            "must be those of sampling. Leave it out"
        )
    if unknown := set(options) - set(known):
        raise ConfigError(f"[policy] lora has no option {min(unknown)!r}. Options: {', '.join(known)}")
    named = {known[name]: value for name, value in options.items()}
    with _loading(f"lora = {lora}"):
        return peft.get_peft_model(module, peft.LoraConfig(task_type="CAUSAL_LM", **named))


def _persistent(module: torch.nn.Module) -> frozenset[str]:
    return frozenset(module.state_dict()) & frozenset(name for name, _ in module.named_buffers())


def fingerprint(module: torch.nn.Module, tokenizer: Any, *, fresh: bool = False) -> str:
    """A quick hash of the tokenizer and of all parameters: their names, shapes, sums, and values at both ends.

    Where what is trained is `fresh`, its values do not count: they are drawn anew with every object, a checkpoint holds
    them all, and the reference is the rest alone.
    """
    words = sorted(tokenizer.get_vocab().items(), key=lambda word: word[::-1])
    digest = hashlib.sha256(repr((words, tokenizer.chat_template)).encode())
    for name, parameter in module.named_parameters():
        flat = parameter.detach().flatten()
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        if not (fresh and parameter.requires_grad):
            bits = flat.view({1: torch.int8, 2: torch.int16, 4: torch.int32}.get(flat.itemsize, torch.int64))
            few = torch.split(bits, 2**22)  # at a time, for each is widened
            digest.update(f"{sum([int(part.sum()) for part in few])}".encode())  # whole numbers, so in any order
            digest.update(torch.cat([flat[:64], flat[-64:]]).double().cpu().numpy().tobytes())
    return digest.hexdigest()
