"""The objects that `run` and `resume` take in place of tables: what they must be, and how a run folder names them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlaif_core.errors import ConfigError, suggest
from rlaif_core.offers import FunctionReward, RewardFunction
from rlaif_core.show import singular

ABLE = {
    "policy": ("sampler", "forward", "keep_reference", "state_dict", "load_state_dict", "save"),
    "prompts": (),
    "actions": ("act",),
    "rewards": ("score",),
    "credit": ("assign",),
    "optimiser": ("prepare", "sources", "weights", "critic", "step", "skip"),
    "observers": ("observe",),
}
"""What can be given, and the methods that it, or each of several, must have."""
SEVERAL = frozenset({"actions", "observers"})
"""What is given as a list."""


def accepted(objects: Mapping[str, Any]) -> dict[str, Any]:
    """The objects that were given (None and an empty mapping of rewards are none), each fit for its place."""
    if unknown := set(objects) - set(ABLE):
        wrong = min(unknown)
        raise ConfigError(f"run() takes no {wrong!r}{suggest(wrong, ABLE) or '.'} Objects: {', '.join(ABLE)}")
    given = {name: its for name, its in objects.items() if its is not None and not (name == "rewards" and its == {})}
    if "rewards" in given and not isinstance(given["rewards"], Mapping):
        raise ConfigError(f"rewards is a {type(given['rewards']).__name__}, but must be a dict from name to source")
    for name in SEVERAL & given.keys():
        if not (isinstance(given[name], Sequence) and given[name]):
            raise ConfigError(f"{name} is {given[name]!r}, but must be a list with one {singular(name)} at least")
    for kind, part, thing in _parts(given):
        _fit(part, thing, ABLE[kind])
    return given


def described(objects: Mapping[str, Any]) -> dict[str, str]:
    """Part -> where its code is, of everything given but the prompts, whose data a checkpoint knows by itself."""
    return {part: _place(thing) for kind, part, thing in _parts(objects) if kind != "prompts"}


def numbered(kind: str, parts: Sequence[Any]) -> list[tuple[str, Any]]:
    """Each action or observer with the name under which the loop calls it and a checkpoint keeps it."""
    return [(f"{singular(kind)} {number} {type(part).__name__!r}", part) for number, part in enumerate(parts, 1)]


def _parts(objects: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """(what it was given as, the part as the loop calls it, the object)."""
    for kind, given in objects.items():
        if kind in SEVERAL:
            yield from ((kind, part, thing) for part, thing in numbered(kind, given))
        elif kind == "rewards":
            yield from ((kind, f"reward source {name!r}", source) for name, source in given.items())
        else:
            yield kind, kind, given


def _fit(part: str, thing: Any, able: Sequence[str]) -> None:
    if isinstance(thing, RewardFunction):
        return
    if inspect.isclass(thing) and able:
        raise ConfigError(f"{part} is the class {thing.__name__} itself; give an object: {thing.__name__}(...)")
    if inspect.isfunction(thing) and "score" in able:
        raise ConfigError(f"{part} is a plain function; write @rl.reward above it, or give rl.reward({thing.__name__})")
    if lacking := [name for name in able if not callable(getattr(thing, name, None))]:
        raise ConfigError(f"{part} is a {type(thing).__name__}, which has no {lacking[0]}(); see rlaif_core.protocols")


def _place(thing: Any) -> str:
    code = thing.function if isinstance(thing, RewardFunction | FunctionReward) else type(thing)
    return f"{_importable(code.__module__)}.{code.__qualname__}"


def _importable(module: str) -> str:
    """The name under which others import a module, also while it is the program."""
    if module != "__main__":
        return module
    program = sys.modules[module]
    if spec := getattr(program, "__spec__", None):
        return str(spec.name)
    return Path(getattr(program, "__file__", None) or module).stem
