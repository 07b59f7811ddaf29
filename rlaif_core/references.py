"""Tables that name other parts of the run: many a part asks judges, and a judge may be the policy.

A builder says so by its parameters: `judge` takes the name of a [judges] table and is handed the judge, `judges` a list
of names; a judge's `policy` is set by no table and is handed the policy in training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rlaif_core.config import Use
from rlaif_core.errors import ConfigError, blame, suggest
from rlaif_core.options import parameters
from rlaif_core.plugins import Listing, Plugins

ASKING = frozenset({"actions", "rewards", "judges", "observers"})
"""Kinds of parts that may ask judges."""


def judges_named(listing: Listing, options: Mapping[str, Any], known: Iterable[str]) -> dict[str, list[str]]:
    """{option: names} of the judges that a table names, each of which there must be."""
    if listing.kind not in ASKING:
        return {}
    with blame(str(listing)):
        takes = parameters(listing.offer.resolve())
    named: dict[str, list[str]] = {}
    if "judge" in takes and isinstance(name := options.get("judge"), str):
        named["judge"] = [str(name)]  # a value out of the environment would be shown as it was written
    if "judges" in takes and isinstance(names := options.get("judges"), list | tuple):
        named["judges"] = [str(name) for name in names]
    for name in (name for names in named.values() for name in names):
        if name not in known:
            raise ConfigError(
                f"{listing} asks judge {name!r}, but there is no [judges.{name}]"
                f"{suggest(name, known) or '.'} Judges: {', '.join(known) or 'none'}"
            )
    return named


def wants_policy(listing: Listing) -> bool:
    """Whether a judge is to be handed the policy in training."""
    if listing.kind != "judges":
        return False
    with blame(str(listing)):
        return "policy" in parameters(listing.offer.resolve())


def handed(listing: Listing, options: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """{option: what it names} of everything that a table does not set itself, to check the rest without building."""
    given: dict[str, Any] = dict(judges_named(listing, options, known))
    if wants_policy(listing):
        if "policy" in options:
            raise ConfigError(f"{listing} judges with the policy of the run; drop its option 'policy'")
        given["policy"] = None
    return given


def in_order(judges: Mapping[str, Use], plugins: Plugins) -> list[str]:
    """The names of the judges, each behind those that it asks."""
    asks = {
        name: {its for names in judges_named(_of(use, plugins), use.options, judges).values() for its in names}
        for name, use in judges.items()
    }
    order: list[str] = []
    while len(order) < len(asks):
        free = [name for name in asks if name not in order and asks[name] <= {*order}]
        if not free:
            circle = ", ".join(repr(name) for name in asks if name not in order)
            raise ConfigError(f"the judges {circle} ask one another in a circle; let one of them ask nobody")
        order += free
    return order


def build_judges(judges: Mapping[str, Use], plugins: Plugins, policy: Any = None) -> dict[str, Any]:
    """The judges of [judges.NAME] tables, without a run; one that judges with a policy needs that."""
    built: dict[str, Any] = {}
    for name in in_order(judges, plugins):
        use = judges[name]
        with blame(f"[judges.{name}]"):
            built[name] = plugins.build(
                "judges", use.use, *resolved(_of(use, plugins), use.options, judges, built, policy)
            )
    return built


def resolved(
    listing: Listing, options: Mapping[str, Any], known: Iterable[str], judges: Mapping[str, Any], policy: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A table's own options, and the objects that it is handed: built judges by their names, and the policy."""
    objects: dict[str, Any] = {}
    for option, names in judges_named(listing, options, known).items():
        asked = [judges[name] for name in names]
        objects[option] = asked if option == "judges" else asked[0]
    if wants_policy(listing):
        if policy is None:
            raise ConfigError(f"{listing} judges with a policy, and here is none; add a [policy] table, or use another")
        objects["policy"] = policy
    return {key: value for key, value in options.items() if key not in objects}, objects


def _of(use: Use, plugins: Plugins) -> Listing:
    return plugins.find("judges", use.use)
