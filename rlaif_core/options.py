"""The options of an offer: its builder's parameters, checked against a TOML table by their type hints."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from rlaif_core.errors import ConfigError, suggest

_CONFIG: Any = {"arbitrary_types_allowed": True}


class OptionGroup:
    """Base of frozen dataclasses that several builders share: their fields are options of the builder's own table.

    A builder takes the group as one parameter with a default: `def __init__(self, kl=0.05, adam=Adam(lr=1e-5))`
    reads `kl`, `lr` and the rest of `Adam`'s fields from the same table, but for those that say `OWN`: the builder has
    an option of its own for them, as one that must be given.
    """


OWN: Mapping[str, bool] = {"own": True}
"""The metadata of a group's field that is no option of the table: `model: str = field(default="", metadata=OWN)`."""


class Expanded(str):
    """A text with values from the environment, which may be secret: where it is shown, it reads as it was written."""

    __slots__ = ("written",)
    written: str

    def __new__(cls, text: str, written: str) -> Expanded:
        self = super().__new__(cls, text)
        self.written = written
        return self

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]  # for copies
        return str(self), self.written

    def __repr__(self) -> str:
        return repr(self.written)


def plain(value: Any) -> Any:
    """A value of a table as a part gets it: every `Expanded` the text that it is."""
    if type(value) is dict:  # not what a type hint has made of one
        return {key: plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(plain(item) for item in value)
    return str(value) if isinstance(value, Expanded) else value


def parameters(build: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The named parameters that a table may set, in the order of the signature, groups spread into their fields.

    The annotations are types, not their texts; `Any` where there is none or only a type checker can import it.
    """
    known: dict[str, inspect.Parameter] = {}
    hints = _hints(build)
    for p in inspect.signature(build).parameters.values():
        if isinstance(p.default, OptionGroup):
            known |= {
                name: p.replace(name=name, default=value, annotation=hint) for name, value, hint in _spread(p.default)
            }
        elif p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
            known[p.name] = p.replace(annotation=hints.get(p.name, Any))
    return known


def _spread(group: OptionGroup) -> Iterator[tuple[str, Any, Any]]:
    hints = typing.get_type_hints(type(group))
    fields: Any = group
    for field in dataclasses.fields(fields):
        if field.metadata.get("own"):
            continue
        yield field.name, getattr(group, field.name), hints[field.name]


def _gathered(build: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    """Put the options of each group back into one."""
    for name, parameter in inspect.signature(build).parameters.items():
        if isinstance(parameter.default, OptionGroup):
            its = {field: values.pop(field) for field, _, _ in _spread(parameter.default) if field in values}
            default: Any = parameter.default
            values[name] = dataclasses.replace(default, **its)
    return values


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
                raise ConfigError(f"{where}: unknown option {name!r}{suggest(name, known) or '.'} Options: {listed}")
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in given:
            raise ConfigError(f"{where}: option {name!r} is missing")
    values = {
        name: _converted(value, known[name].annotation, f"{where}: option {name!r}")
        if name in known and name not in objects
        else value
        for name, value in given.items()
    }
    return _gathered(build, {name: value if name in objects else plain(value) for name, value in values.items()})


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
    own = ("model_config", "__pydantic_config__", "__dataclass_fields__")
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
