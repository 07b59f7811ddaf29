"""Config and plugins into the objects of a run: every name resolved, every option checked, then built in order."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlaif_core import lockfile
from rlaif_core.config import RunConfig, Use
from rlaif_core.errors import ConfigError, blame
from rlaif_core.files import write_bytes
from rlaif_core.objects import accepted, described, numbered
from rlaif_core.offers import FunctionReward, RewardFunction
from rlaif_core.plugins import Listing, Plugins
from rlaif_core.references import handed, in_order, resolved
from rlaif_core.shaped import Recorded, Shaped, shapes

if TYPE_CHECKING:
    from rlaif_core.loop import Source
    from rlaif_core.prompts import Prompts
    from rlaif_core.run import Run
    from rlaif_core.stream import PromptStream


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
    chosen, asked = [], set()
    for part, kind, use in _tables(config, given, in_order(config.judges, plugins)):
        listing = plugins.find(kind, use.use)
        objects_ = handed(listing, use.options, config.judges)
        plugins.options(kind, use.use, {**use.options, **objects_}, objects=objects_)
        asked |= {name for names in objects_.values() for name in names or ()}
        chosen.append(Chosen(part, kind, listing, use.options))
    if unheard := set(config.judges) - asked:
        raise ConfigError(
            f"[judges.{min(unheard)}] is asked by nobody; name it with judge = {min(unheard)!r}, or drop it"
        )
    for reward in config.rewards:
        shapes(reward.shape or (), f"reward source {reward.name!r}")
    if config.run.updates > config.prompts.batch:
        raise ConfigError(
            f"[run] updates is {config.run.updates}, but a batch has only {config.prompts.batch} groups to share out; "
            "lower updates, or raise [prompts] batch"
        )
    result = Plan(tuple(chosen))
    if not given & {"optimiser", "credit"}:
        (optimiser,), (credit,) = result.of("optimisers"), result.of("credits")
        fits(config, _class_of(optimiser), _class_of(credit), plugins)
    return result


def _tables(config: RunConfig, given: set[str], judges: Sequence[str]) -> Iterator[tuple[str, str, Use]]:
    """(part, kind, table) of everything to build, in the order of building."""
    if "policy" not in given:
        yield "policy", "policies", config.policy
    yield from ((f"judge {name!r}", "judges", config.judges[name]) for name in judges)
    if "actions" not in given:
        yield from ((f"action {number} {a.use!r}", "actions", a) for number, a in enumerate(config.actions, 1))
    yield from ((f"reward source {reward.name!r}", "rewards", reward) for reward in config.rewards)
    if "credit" not in given and config.credit:
        yield "credit", "credits", config.credit
    if "optimiser" not in given and config.optimiser:
        yield "optimiser", "optimisers", config.optimiser
    if "observers" not in given:
        yield from ((f"observer {number} {o.use!r}", "observers", o) for number, o in enumerate(config.observers, 1))


def _class_of(chosen: Chosen) -> tuple[Any, str]:
    return chosen.listing.offer.resolve(), chosen.listing.offer.name


def fits(config: RunConfig, optimising: tuple[Any, str], crediting: tuple[Any, str], plugins: Plugins) -> None:
    """The optimiser must read every configured channel, and give the credit what it needs of a critic.

    Each comes with its name: what its offer builds, or the object itself.
    """
    (optimiser, name), (credit, credited) = optimising, crediting
    for reward in config.rewards:
        if not _reads(optimiser, reward.channel):
            others = [its.offer.name for its in plugins.listings("optimisers") if _offers(its, reward.channel)]
            advice = f"use {' or '.join(map(repr, others))}, or drop it" if others else "drop it"
            reads = ", ".join(map(repr, sorted(getattr(optimiser, "channels", {"reward"}))))
            raise ConfigError(
                f"channel {reward.channel!r} is scored but optimiser {name!r} reads only {reads}; {advice}"
            )
    needs: frozenset[str] = getattr(credit, "needs", frozenset())
    if lacking := needs - getattr(optimiser, "gives", frozenset()):
        raise ConfigError(
            f"credit {credited!r} needs {', '.join(sorted(lacking))} from a critic, but optimiser "
            f"{name!r} trains none; use an optimiser with a value head, or a credit that needs none"
        )


def _offers(listing: Listing, channel: str) -> bool:
    """Whether what is offered reads the channel; what cannot even be loaded is nobody's advice."""
    try:
        return _reads(listing.offer.resolve(), channel)
    except Exception:  # noqa: BLE001  whose it is will be said to those who ask for it
        return False


def _reads(optimiser: Any, channel: str) -> bool:
    channels = getattr(optimiser, "channels", frozenset({"reward"}))
    return channels is None or channel in channels


def assemble(given: RunConfig, plugins: Plugins, objects: Mapping[str, Any]) -> Run:
    """Build everything: seeds first, then prompts, policy, judges, actions, rewards, credit, optimiser, observers."""
    import numpy
    import torch

    from rlaif_core.loop import Loop
    from rlaif_core.run import Run

    objects = accepted(objects)
    result, config = plan(given, plugins, objects), given.expanded()
    table = config.run
    random.seed(table.seed)
    numpy.random.seed(table.seed % 2**32)
    torch.manual_seed(table.seed)
    prompts = _prompts(config, objects.get("prompts"))
    built: dict[str, Any] = {}
    for chosen in result.chosen:
        judges = {name: built.get(f"judge {name!r}") for name in config.judges}
        policy = objects.get("policy", built.get("policy"))
        parts = resolved(chosen.listing, chosen.options, config.judges, judges, policy)
        built[chosen.part] = plugins.build(chosen.kind, chosen.listing.offer.name, *parts)
    policy, credit, optimiser = (
        objects[name] if name in objects else built[name] for name in ("policy", "credit", "optimiser")
    )
    if objects.keys() & {"credit", "optimiser"}:
        fits(config, (optimiser, type(optimiser).__name__), (credit, type(credit).__name__), plugins)
    whose = {chosen.part: str(chosen.listing) for chosen in result.chosen}
    with blame(whose.get("optimiser", "optimiser")):
        optimiser.prepare(policy, table.steps)
        contributed = dict(optimiser.sources())
    loop = Loop(
        policy=policy,
        prompts=prompts,
        actions=numbered("actions", objects["actions"])
        if "actions" in objects
        else [(chosen.part, built[chosen.part]) for chosen in result.of("actions")],
        judges={chosen.part: built[chosen.part] for chosen in result.of("judges")},
        sources=_sources(
            config,
            built,
            objects.get("rewards", {}),
            contributed,
            lambda *answers: policy.sampler(seed=table.seed, step=0, group=1).recorded(*answers),
        ),
        credit=credit,
        optimiser=optimiser,
        observers=numbered("observers", objects["observers"])
        if "observers" in objects
        else [(chosen.part, built[chosen.part]) for chosen in result.of("observers")],
        whose=whose,
        seed=table.seed,
        batch=config.prompts.batch,
        group=config.prompts.group,
        updates=table.updates,
        max_failed=table.max_failed,
        max_idle=table.max_idle,
        strict=table.strict,
    )
    # What is written down keeps its ${NAMES}: the values may be secret, and belong to this machine.
    folder, named = Path(table.out), described(objects)
    return Run(config=given, folder=folder, plugins=plugins, plan=result, loop=loop, objects=named)


def _sources(
    config: RunConfig,
    built: Mapping[str, Any],
    given: Mapping[str, Any],
    contributed: Mapping[str, Any],
    recorded: Recorded,
) -> dict[str, Source]:
    """Every reward source by its name: of the config, given as objects, and contributed by the optimiser."""
    from rlaif_core.loop import Source

    sources = {}
    for reward in config.rewards:
        source, how = built[f"reward source {reward.name!r}"], shapes(reward.shape or (), reward.name)
        sources[reward.name] = Source(Shaped(source, how, recorded) if how else source, reward.weight, reward.channel)
    for whose, more, own in (("the rewards given", given, False), ("the optimiser", contributed, True)):
        for name, source in more.items():
            if name in sources:
                raise ConfigError(f"{whose} bring a source {name!r}, but there is one of that name; rename one of them")
            sources[name] = Source(_source(source), contributed=own)
    return sources


def _source(source: Any) -> Any:
    return FunctionReward(source.function) if isinstance(source, RewardFunction) else source


def _prompts(config: RunConfig, given: Any) -> Prompts | PromptStream:
    from rlaif_core.prompts import prompts_for

    prompts = prompts_for(config.prompts, config.run.seed, given)
    prompts.check(config.prompts.batch)
    return prompts


def open_folder(this: Run) -> None:
    """Make the run folder and write down the config and who took part; an existing run is never overwritten."""
    folder = this.folder
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; choose a folder with --out")
    if folder.exists() and any(folder.iterdir()):
        if (folder / "config.toml").exists():
            raise ConfigError(
                f"{folder} already holds a run; go on with `rlaif resume {folder}`, or choose another with --out"
            )
        raise ConfigError(f"{folder} exists and is not empty; choose another with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the run folder {folder} cannot be made ({error.strerror}); choose another with --out"
        ) from error
    lockfile.write(this)
    write_config(folder, this.config)


def write_config(folder: Path, config: RunConfig) -> None:
    """Write the config into a run folder, every default spelt out."""
    import tomli_w

    write_bytes(folder / "config.toml", tomli_w.dumps(config.tables()).encode())
