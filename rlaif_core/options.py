"""The options of an offer: its builder's parameters, checked against a TOML table by their type hints."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

from rlaif_core.errors import ConfigError, suggest

_CONFIG: Any = {"arbitrary_types_allowed": True}


def parameters(build: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The named parameters that a table may set, in the order of the signature."""
    every = inspect.signature(build).parameters.values()
    return {p.name: p for p in every if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def checked(
    build: Callable[..., Any], given: Mapping[str, Any], where: str, objects: Collection[str] = ()
) -> dict[str, Any]:
    """`given`, validated and converted by the builder's type hints; unknown, missing and ill-typed options raise.

    Options named in `objects` are already built things (a judge): they are passed on as they are.
    """
    known = parameters(build)
    if not _takes_any(build):
        for name in given:
            if name not in known:
                listed = ", ".join(known) or "none"
                raise ConfigError(f"{where}: unknown option {name!r}{suggest(name, known)}. Options: {listed}")
    hints = _hints(build)
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in given:
            raise ConfigError(f"{where}: option {name!r} is missing")
    return {
        name: value if name in objects else _converted(value, hints.get(name, Any), f"{where}: option {name!r}")
        for name, value in given.items()
    }


def _takes_any(build: Callable[..., Any]) -> bool:
    """Whether the builder has **options; what a `Protocol` puts in place of a missing `__init__` does not count."""
    if inspect.isclass(build) and getattr(build.__init__, "__module__", "") == "typing":
        return False
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(build).parameters.values())


def _converted(value: Any, hint: Any, where: str) -> Any:
    import pydantic

    try:
        return pydantic.TypeAdapter(hint, config=_CONFIG if _plain(hint) else None).validate_python(value)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{where} {complaint(error)}") from None


def complaint(error: Any) -> str:
    """The first complaint of a pydantic error, in a few words: what was wrong and what was given."""
    detail = error.errors()[0]
    message = detail["msg"][0].lower() + detail["msg"][1:]
    return f"is wrong: {message}, got {detail['input']!r}"


def _plain(hint: Any) -> bool:
    """Whether pydantic takes a config for this hint: its own models, dataclasses and typed dicts bring theirs."""
    own = ("__pydantic_config__", "__dataclass_fields__")
    return not (inspect.isclass(hint) and any(hasattr(hint, name) for name in own))


def _hints(build: Callable[..., Any]) -> dict[str, Any]:
    function = build.__init__ if inspect.isclass(build) else build
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):
        # A hint names something imported for the type checker only: check the others.
        space = getattr(inspect.unwrap(function), "__globals__", {})
        return {name: _evaluate(hint, space) for name, hint in getattr(function, "__annotations__", {}).items()}


def _evaluate(hint: Any, space: dict[str, Any]) -> Any:
    try:
        return typing.get_type_hints(type("Hint", (), {"__annotations__": {"it": hint}}), space)["it"]
    except (NameError, TypeError):
        return Any
