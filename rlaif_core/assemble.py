"""Config and plugins into the objects of a run: every name resolved, every option checked, then built in order."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlaif_core.config import RunConfig, Use
from rlaif_core.errors import CheckpointError, ConfigError, suggest
from rlaif_core.files import write_bytes, writing
from rlaif_core.offers import FunctionReward, RewardFunction
from rlaif_core.options import parameters
from rlaif_core.plugins import Listing, Plugins

if TYPE_CHECKING:
    from rlaif_core.prompts import Prompts
    from rlaif_core.run import Run

OBJECTS = ("policy", "prompts", "actions", "rewards", "credit", "optimiser")


@dataclass(frozen=True, slots=True)
class Chosen:
    """One table of the config with the offer that it names: `part` is how the loop calls the thing."""

    part: str
    kind: str
    listing: Listing
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a config amounts to, with origins; `lines` are (part, name, origin, options)."""

    chosen: tuple[Chosen, ...]

    @property
    def lines(self) -> list[tuple[str, str, str, dict[str, Any]]]:
        return [(c.part, c.listing.offer.name, str(c.listing.origin), dict(c.options)) for c in self.chosen]

    def of(self, kind: str) -> list[Chosen]:
        """The chosen offers of one kind, in the order of the config."""
        return [chosen for chosen in self.chosen if chosen.kind == kind]


def plan(config: RunConfig, plugins: Plugins, objects: Iterable[str] = ()) -> Plan:
    """Resolve and check everything that can be without building; `objects` are given instead of their tables."""
    config, given = config.expanded(), set(objects)
    plugins.require(config.plugins.require)
    for table, heading in {
        "actions": "[[actions]]",
        "rewards": "[[rewards]]",
        "credit": "[credit]",
        "optimiser": "[optimiser]",
    }.items():
        if table not in given and not getattr(config, table):
            raise ConfigError(
                f'table {heading} is missing; add one with use = "..." (`rlaif plugins` lists what there is)'
            )
    chosen = []
    for part, kind, use in _tables(config, given):
        listing = plugins.find(kind, use.use)
        judged = _judge_named(listing, use.options, config)
        plugins.options(kind, use.use, use.options, objects=judged)
        chosen.append(Chosen(part, kind, listing, use.options))
    result = Plan(tuple(chosen))
    if "optimiser" not in given:
        _fits(config, result, plugins)
    return result


def _tables(config: RunConfig, given: set[str]) -> Iterator[tuple[str, str, Use]]:
    """(part, kind, table) of everything to build, in the order of building."""
    if "policy" not in given:
        yield "policy", "policies", config.policy
    yield from ((f"judge {name!r}", "judges", judge) for name, judge in config.judges.items())
    if "actions" not in given:
        yield from ((f"action {number} {a.use!r}", "actions", a) for number, a in enumerate(config.actions, 1))
    yield from ((f"reward source {reward.name!r}", "rewards", reward) for reward in config.rewards)
    if "credit" not in given and config.credit:
        yield "credit", "credits", config.credit
    if "optimiser" not in given and config.optimiser:
        yield "optimiser", "optimisers", config.optimiser


def _judge_named(listing: Listing, options: Mapping[str, Any], config: RunConfig) -> dict[str, str]:
    """{"judge": name} for a table that names a judge of the config."""
    name = options.get("judge")
    if listing.kind != "rewards" or "judge" not in parameters(listing.offer.resolve()) or not isinstance(name, str):
        return {}
    if name not in config.judges:
        known = ", ".join(config.judges) or "none"
        raise ConfigError(
            f"reward source {listing.offer.name!r} asks judge {name!r}, but there is no [judges.{name}]"
            f"{suggest(name, config.judges) or '.'} Judges: {known}"
        )
    return {"judge": name}


def _fits(config: RunConfig, result: Plan, plugins: Plugins) -> None:
    """The optimiser must read every configured channel, and give the credit what it needs of a critic."""
    listing = result.of("optimisers")[0].listing
    optimiser, name = listing.offer.resolve(), listing.offer.name
    for reward in config.rewards:
        if not _reads(optimiser, reward.channel):
            others = [o.offer.name for o in plugins.listings("optimisers") if _reads(o.offer.resolve(), reward.channel)]
            advice = f"use {' or '.join(map(repr, others))}, or drop it" if others else "drop it"
            reads = ", ".join(map(repr, sorted(getattr(optimiser, "channels", {"reward"}))))
            raise ConfigError(
                f"channel {reward.channel!r} is scored but optimiser {name!r} reads only {reads}; {advice}"
            )
    for credit in result.of("credits"):
        needs: frozenset[str] = getattr(credit.listing.offer.resolve(), "needs", frozenset())
        if lacking := needs - getattr(optimiser, "gives", frozenset()):
            raise ConfigError(
                f"credit {credit.listing.offer.name!r} needs {', '.join(sorted(lacking))} from a critic, but optimiser "
                f"{name!r} trains none; use an optimiser with a value head, or a credit that needs none"
            )


def _reads(optimiser: Any, channel: str) -> bool:
    channels = getattr(optimiser, "channels", frozenset({"reward"}))
    return channels is None or channel in channels


def assemble(config: RunConfig, plugins: Plugins, objects: Mapping[str, Any]) -> Run:
    """Build everything: seeds first, then prompts, policy, judges, actions, rewards, credit, optimiser."""
    import numpy
    import torch

    from rlaif_core.loop import Loop, Source
    from rlaif_core.run import Run

    if unknown := set(objects) - set(OBJECTS):
        wrong = min(unknown)
        raise ConfigError(f"run() takes no {wrong!r}{suggest(wrong, OBJECTS) or '.'} Objects: {', '.join(OBJECTS)}")
    result = plan(config, plugins, objects)
    table = config.run
    random.seed(table.seed)
    numpy.random.seed(table.seed % 2**32)
    torch.manual_seed(table.seed)
    prompts = _prompts(config.expanded(), objects.get("prompts"))
    built: dict[str, Any] = {}
    for chosen in result.chosen:
        judge = {"judge": built[f"judge {chosen.options['judge']!r}"]} if _names_judge(chosen, built) else {}
        options = {key: value for key, value in chosen.options.items() if key not in judge}
        built[chosen.part] = plugins.build(chosen.kind, chosen.listing.offer.name, options, judge)
    sources = {r.name: Source(built[f"reward source {r.name!r}"], r.weight, r.channel) for r in config.rewards} | {
        name: Source(_source(source)) for name, source in dict(objects.get("rewards", {})).items()
    }
    policy = objects.get("policy") or built["policy"]
    optimiser = objects.get("optimiser") or built["optimiser"]
    optimiser.prepare(policy, table.steps)
    for name, source in optimiser.sources().items():
        if name in sources:
            raise ConfigError(
                f"the optimiser contributes a reward source {name!r}; give the configured one another name"
            )
        sources[name] = Source(source, contributed=True)
    actions = objects.get("actions")
    loop = Loop(
        policy=policy,
        prompts=prompts,
        actions=[(f"action {type(action).__name__}", action) for action in actions]
        if actions
        else [(chosen.part, built[chosen.part]) for chosen in result.of("actions")],
        sources=sources,
        credit=objects.get("credit") or built["credit"],
        optimiser=optimiser,
        whose={chosen.part: str(chosen.listing) for chosen in result.chosen},
        seed=table.seed,
        batch=config.prompts.batch,
        group=config.prompts.group,
        updates=table.updates,
        max_failed=table.max_failed,
        max_idle=table.max_idle,
        strict=table.strict,
    )
    return Run(config=config, folder=Path(table.out), plugins=plugins, loop=loop)


def _names_judge(chosen: Chosen, built: Mapping[str, Any]) -> bool:
    return chosen.kind == "rewards" and f"judge {chosen.options.get('judge')!r}" in built


def _source(source: Any) -> Any:
    return FunctionReward(source.function, {}) if isinstance(source, RewardFunction) else source


def _prompts(config: RunConfig, rows: Any) -> Prompts:
    from rlaif_core.prompts import Prompts, load_prompts, prompts_of

    table = config.prompts
    prompts = load_prompts(table) if rows is None else prompts_of(rows, table)
    return Prompts(prompts, seed=config.run.seed, shuffle=table.shuffle)


def open_folder(this: Run) -> None:
    """Make the run folder and write down the config and who took part; an existing run is never overwritten."""
    import tomli_w

    folder = this.folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "already holds a run" if (folder / "config.toml").exists() else "exists and is not empty"
        raise ConfigError(f"{folder} {what}; go on with `rlaif resume {folder}`, or choose another with --out")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "config.toml", tomli_w.dumps(this.config.tables()).encode())
    write_bytes(folder / "plugins.lock.toml", tomli_w.dumps({"offers": _lock(this)}).encode())


def _lock(this: Run) -> list[dict[str, str]]:
    return [{"part": part, "origin": origin} for part, origin in sorted(this.loop.whose.items())]


def verify_lock(this: Run) -> None:
    """Refuse to resume when a plugin that took part is gone or of another version."""
    locked = {e["part"]: e["origin"] for e in tomllib.loads((this.folder / "plugins.lock.toml").read_text())["offers"]}
    now = {entry["part"]: entry["origin"] for entry in _lock(this)}
    for part, origin in locked.items():
        if now.get(part) != origin:
            raise CheckpointError(
                f"{part} was {origin} when the run started but is {now.get(part, 'missing')} now; "
                "install that version again, or start a new run"
            )
