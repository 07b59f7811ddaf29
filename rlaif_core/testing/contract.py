"""What the checks share: how parts are called, what values for tokens look like, and when two outcomes are the same."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from rlaif_core import checkpoint
from rlaif_core.errors import PluginError, blame
from rlaif_core.feedback import Failed, Outcome, Score
from rlaif_core.protocols import State, Stateful
from rlaif_core.testing.compare import difference, snapshot
from rlaif_core.types import Rollouts


def named(part: object, method: str) -> str:
    """How complaints call it; refuses what cannot be called at all."""
    if isinstance(part, type):
        raise PluginError(f"{part.__name__} is a class; give an instance of it")
    if not callable(getattr(part, method, None)):
        raise PluginError(f"a {type(part).__name__} has no method {method}(); see rlaif_core.protocols")
    return f"{type(part).__name__}.{method}"


def per_token(part: str, values: Tensor, rollouts: Rollouts) -> None:
    """Values for tokens are [B,T] f32, finite, 0 off-mask."""
    if not isinstance(values, Tensor):
        raise PluginError(f"{part} is a {type(values).__name__}, but must be a tensor [B,T] float32")
    if values.shape != rollouts.mask.shape or values.dtype != torch.float32:
        raise PluginError(f"{part} is {tuple(values.shape)} {values.dtype}, but must be [B,T] float32")
    if not bool(torch.isfinite(values).all()):
        raise PluginError(f"{part} is not finite")
    if bool((values[~rollouts.mask.to(values.device)] != 0).any()):
        raise PluginError(f"{part} must be 0 wherever the rollouts' mask is False")


def through_a_checkpoint(state: State) -> State:
    """`state` as a resumed run gets it back; what a checkpoint cannot hold is refused here."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder), 1, state, keep=1)
        return checkpoint.load(Path(folder))[1]


def remembered(part: object) -> State | None:
    """What a part remembers, if anything, as a checkpoint gives it back; what none can hold is refused."""
    if not isinstance(part, Stateful):
        return None
    with blame(f"{type(part).__name__}.state_dict"):
        return through_a_checkpoint(part.state_dict())


def check_state(part: object, start: State | None) -> None:
    """A part that was tried must go back to what it `remembered` at the `start`, and forth again."""
    if not isinstance(part, Stateful):
        return
    called, now = type(part).__name__, remembered(part)
    for saved in (start, now):
        assert saved is not None
        before = snapshot(saved, "state")
        with blame(f"{called}.load_state_dict"):
            part.load_state_dict(saved)
        if path := difference(before, snapshot(remembered(part), "state")):
            raise PluginError(
                f"{called}.load_state_dict does not bring back what state_dict described: {path} differs; what is "
                "loaded takes the place of what is there"
            )


def all_failed(outcomes: Sequence[Outcome]) -> str:
    """Why, if not one answer could be judged."""
    failed = [outcome.reason for outcome in outcomes if isinstance(outcome, Failed)]
    return "; ".join(dict.fromkeys(failed)) if len(failed) == len(outcomes) else ""


def asked_again(
    part: str, first: Mapping[str, Sequence[Outcome]], ask: Callable[[str], Sequence[Outcome]], tolerance: float
) -> None:
    """Ask everything again: at once, so that chance shows, and after everything else, so that memory shows."""
    for name in first:
        once, again = ask(name), ask(name)
        alike(f"{part} answers differently when asked the same thing twice ({name})", once, again, tolerance)
        alike(f"{part} remembers earlier calls: its answers on {name} changed", first[name], once, tolerance)


def alike(complaint: str, expected: Sequence[Outcome], said: Sequence[Outcome], tolerance: float) -> None:
    """Raise `complaint` at the first answer that got two different outcomes."""
    for row, (one, other) in enumerate(zip(expected, said, strict=True)):
        if isinstance(one, Score) and isinstance(other, Score):
            close = math.isclose(one.value, other.value, rel_tol=tolerance, abs_tol=tolerance)
        else:
            close = type(one) is type(other)
        if not close:
            raise PluginError(f"{complaint}: answer {row} got {one}, then {other}")
