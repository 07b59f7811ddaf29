"""verl's own functions, https://github.com/verl-project/verl.

Importing `verl` imports Ray and starts up a trainer's worth of modules. The files with the arithmetic need none of
that, so where it is missing they are loaded from the installed package with the `__init__` of the folders above them
left out, and with empty classes for the configurations that they name in annotations alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from rlaif_kernels.bench.case import Absent, Answers, Call, Contestant, Inputs

__all__ = ["gae", "group", "logprobs", "logprobs_and_entropy", "loss", "whiten"]

FOLDERS = ("verl", "verl.utils", "verl.trainer", "verl.trainer.ppo", "verl.plugin")
ANNOTATED = {
    "omegaconf": ("DictConfig",),
    "verl.trainer.config": ("AlgoConfig",),
    "verl.workers.config": ("ActorConfig",),
}


def logprobs() -> Contestant:
    def prepare(inputs: Inputs) -> Call:
        function = _module("verl.utils.torch_functional").logprobs_from_logits
        return lambda: function(inputs["logits"], inputs["targets"])

    return Contestant("verl", prepare, package="verl")


def logprobs_and_entropy() -> Contestant:
    """Two functions, as its actor calls them."""

    def prepare(inputs: Inputs) -> Call:
        functions, logits = _module("verl.utils.torch_functional"), inputs["logits"]
        one, other = functions.logprobs_from_logits, functions.entropy_from_logits
        return lambda: (one(logits, inputs["targets"]), other(logits))

    return Contestant("verl", prepare, package="verl")


def gae() -> Contestant:
    def prepare(inputs: Inputs) -> Call:
        function = _module("verl.trainer.ppo.core_algos").compute_gae_advantage_return
        rewards, values, mask = inputs["rewards"], inputs["values"], inputs["mask"].to(inputs["rewards"].dtype)
        kept = inputs["mask"]

        def call() -> Any:
            return function(rewards, values, mask, inputs["gamma"], inputs["lam"])[1], kept

        return call

    def read(said: Any) -> Answers:
        returns, kept = said
        return {"returns": returns.masked_fill(~kept, 0.0)}

    return Contestant(
        "verl", prepare, read, note="whitens the advantages as well; the returns are compared", package="verl"
    )


def loss() -> Contestant:
    def prepare(inputs: Inputs) -> Call:
        function = _module("verl.trainer.ppo.core_algos").compute_policy_loss_vanilla
        old, logp, advantages = (inputs[name] for name in ("old_logp", "logp", "advantages"))
        mask, dual = inputs["mask"].to(logp.dtype), inputs.get("dual")
        config = SimpleNamespace(clip_ratio=0.2, clip_ratio_low=None, clip_ratio_high=None, global_batch_info={})
        config.get = lambda name, default: dual if name == "clip_ratio_c" else default
        return lambda: function(old, logp, advantages, mask, config=config)[0]

    return Contestant("verl", prepare, package="verl")


def whiten() -> Contestant:
    def prepare(inputs: Inputs) -> Call:
        function = _module("verl.utils.torch_functional").masked_whiten
        x, mask = inputs["x"], inputs["mask"]
        return lambda: (function(x, mask), mask)

    def read(said: Any) -> Answers:
        return {"whitened": said[0].masked_fill(~said[1], 0.0)}

    return Contestant("verl", prepare, read, note="divides by n - 1, and leaves numbers off the mask", package="verl")


def group() -> Contestant:
    def prepare(inputs: Inputs) -> Call:
        function = _module("verl.trainer.ppo.core_algos").compute_grpo_outcome_advantage
        x, index = inputs["x"], inputs["group"].cpu().numpy()
        mask = torch.ones_like(x).unsqueeze(-1)
        return lambda: function(x.clone().unsqueeze(-1), mask, index)[0].squeeze(-1)

    return Contestant("verl", prepare, package="verl")


@cache
def _module(name: str) -> ModuleType:
    """A module of verl, whole if it can be, else without what stands above it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        spec = None if error.name == "verl" else _found()
        if spec is None:
            raise Absent("not installed") from error
        try:
            with _stand_ins(Path(spec)):
                return importlib.import_module(name)
        except ImportError as second:
            raise Absent(f"not importable: {error}; without its __init__: {second}") from second


def _found() -> str | None:
    spec = importlib.util.find_spec("verl")
    return spec.origin and str(Path(spec.origin).parent) if spec else None


@contextmanager
def _stand_ins(folder: Path) -> Iterator[None]:
    """Folders of modules without their `__init__`, and what is left of them taken away again afterwards."""
    before = dict(sys.modules)
    for name in [name for name in sys.modules if name.split(".")[0] == "verl"]:
        del sys.modules[name]
    try:
        for name in FOLDERS:
            package = ModuleType(name)
            package.__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
            sys.modules[name] = package
        for name, classes in ANNOTATED.items():
            if name.startswith("verl.") or importlib.util.find_spec(name) is None:
                sys.modules[name] = ModuleType(name)
                for each in classes:
                    setattr(sys.modules[name], each, type(each, (), {}))
        groupwise = importlib.import_module("verl.utils.groupwise")
        for function in ("as_torch_index", "group_mean_std"):  # what verl.utils hands on
            setattr(sys.modules["verl.utils"], function, getattr(groupwise, function))
        yield
    finally:
        for name in set(sys.modules) - set(before):
            if name.split(".")[0] in ("verl", "omegaconf"):
                del sys.modules[name]
        sys.modules.update({name: module for name, module in before.items() if name.split(".")[0] == "verl"})
