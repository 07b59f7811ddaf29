"""Find, load, block, blame, list and build plugins. `Plugins` is an object, never a global: a test makes its own.

pluggy is used by its public names only. A plugin that fails to import is listed with its error and stops only a run
that needs it.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import pluggy

from rlaif_core import hookspecs
from rlaif_core.errors import PluginError, all_of, blame, explain, suggest
from rlaif_core.files import sha256
from rlaif_core.offers import KINDS, Offer, RewardFunction, hookimpl
from rlaif_core.options import checked

GROUP = "rlaif"
BUILT_IN = "rlaif-core"
LOCAL = "file"
"""How the version of a loose plugin file begins; the rest is the beginning of its SHA-256."""
EVENTS = ("rlaif_run_started", "rlaif_step_finished", "rlaif_run_finished", "rlaif_commands")
SINGULAR = {
    "policies": "policy",
    "actions": "action",
    "judges": "judge",
    "rewards": "reward source",
    "credits": "credit",
    "optimisers": "optimiser",
    "observers": "observer",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a plugin comes from: its name for blocking, its distribution and version."""

    plugin: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} ({self.plugin})"


@dataclass(frozen=True, slots=True)
class Listing:
    """One offer with its kind and origin."""

    kind: str
    offer: Offer[Any]
    origin: Origin

    def __str__(self) -> str:
        return f"{SINGULAR[self.kind]} {self.offer.name!r} from {self.origin}"


class Plugins:
    """The plugins of one process: `load()` finds them, `find` and `build` choose by name, `tell` sends events."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("rlaif")
        self._manager.add_hookspecs(hookspecs.specifications())
        self.origins: dict[str, Origin] = {}
        self.failures: dict[str, BaseException] = {}
        self.blocked: dict[str, str] = {}
        self._listings: dict[tuple[str, str], Listing] = {}

    @classmethod
    def load(cls, *, block: Iterable[str] = (), files: Sequence[Path | str] = ()) -> Plugins:
        """Load every entry point of group `rlaif` that is not blocked, then loose `files`.

        `RLAIF_PLUGINS=a,b` allows only those besides the built-ins (empty: built-ins only).
        """
        plugins, blocked, found = cls(), set(block), _entry_points()
        if unknown := blocked - {origin.plugin for origin, _ in found}:
            wrong = min(unknown)
            raise PluginError(f"--no-plugin {wrong}: no such plugin{suggest(wrong, [o.plugin for o, _ in found])}")
        allowed = os.environ.get("RLAIF_PLUGINS")
        names = None if allowed is None else {name.strip() for name in allowed.split(",")}
        for origin, entry in found:
            if origin.plugin in blocked:
                plugins.blocked[origin.plugin] = "blocked by --no-plugin"
            elif names is not None and origin.distribution != BUILT_IN and origin.plugin not in names:
                plugins.blocked[origin.plugin] = f"not among RLAIF_PLUGINS={allowed}"
            else:
                plugins._try(entry.load, origin)
        for file in files:
            plugins.add(module_of(Path(file)), local_origin(Path(file)))
        return plugins

    def _try(self, load: Callable[[], Any], origin: Origin) -> None:
        try:
            self.add(load(), origin)
        except (Exception, SystemExit) as error:  # noqa: BLE001  a stranger's import may raise anything
            # Kept, shown by `rlaif plugins`, and in the way of those runs only that need the plugin.
            self.failures[origin.plugin] = error
            self.origins[origin.plugin] = origin

    def add(self, plugin: Any, origin: Origin) -> None:
        """Register a module, an object with hooks, or a `@reward` function, and take its offers; all or nothing."""
        if other := self.origins.get(origin.plugin):
            raise PluginError(f"a plugin called {origin.plugin!r} is already loaded, from {other}; rename one of them")
        parts = [plugin, *_rewards_in(plugin)]
        try:
            with blame(f"plugin {origin}"):
                for part in parts:
                    self._register(part, origin.plugin if part is plugin else f"{origin.plugin}.{part.__name__}")
                if not any(self._manager.get_hookcallers(part) for part in parts):
                    raise PluginError("it has no hooks; mark functions with @rl.hookimpl or use @rl.reward")
                self._listings.update(
                    self._fresh([listing for part in parts for listing in self._offers(part, origin)])
                )
        except BaseException:
            for part in filter(self._manager.is_registered, parts):
                self._manager.unregister(part)
            raise
        self.origins[origin.plugin] = origin

    def _register(self, part: Any, name: str) -> None:
        if inspect.isclass(part):
            raise PluginError(f"{part.__name__} is a class; name an instance or a module in the entry point")
        _refuse_unmarked(part)
        self._manager.register(part, name=name)
        known = [*(f"rlaif_{kind}" for kind in KINDS), *EVENTS]
        for caller in self._manager.get_hookcallers(part) or []:
            if caller.name not in known:
                raise PluginError(
                    f"unknown hook {caller.name!r}{suggest(caller.name, known) or '.'} Hooks: {', '.join(known)}"
                )

    def _offers(self, part: Any, origin: Origin) -> list[Listing]:
        """Ask one plugin, so that whatever it raises is known to be its own."""
        listings = []
        for kind in KINDS:
            for implementation in getattr(self._manager.hook, f"rlaif_{kind}").get_hookimpls():
                if implementation.plugin is not part:
                    continue
                with blame(f"hook rlaif_{kind}"):
                    offered = implementation.function()
                    for offer in [offered] if isinstance(offered, Offer) else offered or ():
                        if not isinstance(offer, Offer):
                            raise PluginError(f"yielded a {type(offer).__name__}; yield rl.Offer(name, build, summary)")
                        listings.append(Listing(kind, offer, origin))
        return listings

    def _fresh(self, listings: Iterable[Listing]) -> dict[tuple[str, str], Listing]:
        """The listings by kind and name; a name that is taken is an error about both who offer it."""
        fresh: dict[tuple[str, str], Listing] = {}
        for listing in listings:
            key = (listing.kind, listing.offer.name)
            if other := self._listings.get(key) or fresh.get(key):
                both = f"by {other.origin} and by {listing.origin}"
                raise PluginError(f"{listing.kind}: {key[1]!r} is offered twice: {both}; block one with --no-plugin")
            fresh[key] = listing
        return fresh

    def listings(self, kind: str | None = None) -> list[Listing]:
        """All offers, or those of one kind, sorted by kind and name."""
        return sorted(
            (listing for listing in self._listings.values() if kind in (None, listing.kind)),
            key=lambda listing: (KINDS.index(listing.kind), listing.offer.name),
        )

    def find(self, kind: str, name: str) -> Listing:
        """The offer of that kind and name, or an error with a suggestion and the list of what there is."""
        if listing := self._listings.get((kind, name)):
            return listing
        names = [listing.offer.name for listing in self.listings(kind)]
        text = (
            f"no plugin offers {name!r} under {kind}{suggest(name, names) or '.'} Offered: {', '.join(names) or 'none'}"
        )
        if self.failures:
            broken = "; ".join(f"{plugin} ({explain(error)})" for plugin, error in self.failures.items())
            text += f". Failed to load and perhaps the one that offers it: {broken}"
        if self.blocked:
            text += ". Not loaded: " + "; ".join(f"{plugin} ({why})" for plugin, why in self.blocked.items())
        raise PluginError(text)

    def require(self, names: Iterable[str]) -> None:
        """Raise unless each named plugin is loaded."""
        for name in names:
            if name in self.failures:
                error = self.failures[name]
                raise PluginError(f"required plugin {name!r} failed to load: {explain(error)}") from error
            if name in self.blocked:
                raise PluginError(f"required plugin {name!r} is not loaded: {self.blocked[name]}")
            if name not in self.origins:
                raise PluginError(f"required plugin {name!r} is not installed{suggest(name, self.origins)}")

    def options(self, kind: str, name: str, options: Mapping[str, Any], objects: Iterable[str] = ()) -> dict[str, Any]:
        """The options of a table, checked against the offer without building it."""
        listing = self.find(kind, name)
        with blame(str(listing)):
            return checked(listing.offer.resolve(), options, f"{SINGULAR[kind]} {name!r}", frozenset(objects))

    def build(self, kind: str, name: str, options: Mapping[str, Any], objects: Mapping[str, Any] | None = None) -> Any:
        """Build the offer with checked `options` and ready-made `objects`; what it raises names its plugin."""
        objects = objects or {}
        listing = self.find(kind, name)
        arguments = self.options(kind, name, {**options, **objects}, objects)
        with blame(f"building {listing}"):
            return listing.offer.resolve()(**arguments)

    def implementations(self, hook: str) -> list[tuple[Origin, Callable[..., Any]]]:
        """Every plugin's function for a hook that is not about offers, with whose it is."""
        found = getattr(self._manager.hook, hook).get_hookimpls()
        return [(self.origins[each.plugin_name], each.function) for each in found]

    def tell(self, event: str, **facts: Any) -> None:
        """Send an event to every plugin that listens, whatever becomes of the others; an exception names its plugin."""

        def sent(implementation: Any) -> None:
            with blame(f"hook {event} of plugin {self.origins.get(implementation.plugin_name)}"):
                implementation.function(*(facts[name] for name in implementation.argnames))

        all_of(None, *(partial(sent, its) for its in getattr(self._manager.hook, event).get_hookimpls()))


def local_origin(file: Path) -> Origin:
    """Of a loose file: its place stands for the distribution, and its content for the version."""
    return Origin(file.stem, str(file.resolve()), f"{LOCAL} {sha256(file)[:12]}")


def _entry_points() -> list[tuple[Origin, metadata.EntryPoint]]:
    """Every installed plugin, sorted by name; where two distributions chose one name, each gets "@distribution"."""
    found = [(e, e.dist.name if e.dist else "unknown") for e in metadata.entry_points(group=GROUP)]
    names = [entry.name for entry, _ in found]
    origins = []
    for entry, distribution in found:
        name = entry.name if names.count(entry.name) == 1 else f"{entry.name}@{distribution}"
        origins.append((Origin(name, distribution, entry.dist.version if entry.dist else "?"), entry))
    return sorted(origins, key=lambda pair: pair[0].plugin)


def _rewards_in(plugin: Any) -> list[RewardFunction]:
    """The `@reward` functions that a module defines; those it imported are someone else's."""
    if not inspect.ismodule(plugin):
        return []
    values = [value for value in vars(plugin).values() if isinstance(value, RewardFunction)]
    return [value for value in values if value.__module__ == plugin.__name__]


def _refuse_unmarked(part: Any) -> None:
    """A function called like a hook but not marked as one would never be called; say so."""
    if not inspect.ismodule(part):
        return
    for name, value in vars(part).items():
        own = name.startswith("rlaif_") and inspect.isfunction(value) and value.__module__ == part.__name__
        if own and not hasattr(value, f"{hookimpl.project_name}_impl"):
            raise PluginError(f"{name} is not marked as a hook; put @rl.hookimpl above it")


def module_of(file: Path) -> Any:
    """Import a loose Python file."""
    if not file.is_file():
        raise PluginError(f"{file}: there is no such file (looked in {Path.cwd()})")
    name = f"rlaif_local_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise PluginError(f"--plugin {file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with blame(f"plugin file {file}"):
        spec.loader.exec_module(module)
    return module
