"""What `rlaif show` prints about one offer, and the words for the kinds of offers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

from rlaif_core.errors import PluginError, blame, suggest
from rlaif_core.offers import KINDS
from rlaif_core.options import OptionGroup, parameters
from rlaif_core.plugins import Listing


def singular(kind: str) -> str:
    """policies -> policy, rewards -> reward."""
    return kind.removesuffix("ies") + "y" if kind.endswith("ies") else kind.removesuffix("s")


def kind_named(word: str) -> str:
    """The kind that a user means by its singular or plural."""
    words = {form: kind for kind in KINDS for form in (kind, singular(kind))}
    if word.lower() not in words:
        known = ", ".join(map(singular, KINDS))
        raise PluginError(f"there is no kind {word!r}{suggest(word.lower(), words) or '.'} Kinds: {known}")
    return words[word.lower()]


def described(listing: Listing) -> str:
    """An offer as a page of text: origin, summary, docstring, options with types and defaults."""
    with blame(str(listing)):
        build = listing.offer.resolve()
    sections = [f"{listing}\n{listing.offer.summary}".rstrip()]
    doc = inspect.getdoc(build)
    if doc and not doc.startswith(f"{getattr(build, '__name__', '')}("):  # a dataclass without one gets its signature
        sections.append(doc)
    sections += _groups(build)
    options = [_option(parameter) for parameter in parameters(build).values()]
    widths = [max((len(option[column]) for option in options), default=0) for column in range(2)]
    lines = [f"  {name:<{widths[0]}}  {kind:<{widths[1]}}  {rest}".rstrip() for name, kind, rest in options]
    sections.append("\n".join(["options", *(lines or ["  none"])]))
    return "\n\n".join(sections)


def _groups(build: Callable[..., Any]) -> list[str]:
    """What the groups of options that the builder shares with others say of themselves."""
    groups = [its.default for its in inspect.signature(build).parameters.values()]
    docs = [inspect.getdoc(type(group)) for group in groups if isinstance(group, OptionGroup)]
    return [doc for doc in docs if doc]


def _option(parameter: inspect.Parameter) -> tuple[str, str, str]:
    default = "required" if parameter.default is parameter.empty else f"= {parameter.default!r}"
    return parameter.name, _worded(parameter.annotation), default


def _worded(hint: Any) -> str:
    """A type as a user meets it in TOML: the choices of a Literal rather than its alias."""
    if get_origin(hint) is Literal:
        return " | ".join(map(repr, get_args(hint)))
    return inspect.formatannotation(hint).replace("typing.", "")
