"""`rlaif selfcheck --judge`: how often the judges of a config fall for attacks, with their defences and without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rlaif_core import ConfigError, Plugins
from rlaif_core.config import RunConfig, Use
from rlaif_core.errors import suggest
from rlaif_core.options import parameters
from rlaif_core.references import build_judges
from rlaif_core.testing.attacks import Attempt, attack

if TYPE_CHECKING:
    from rich.table import Table

FRAMED = "framed"
"""The option of judges that can be told to show texts without a frame."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What every attack did to a judge as it is configured, and (where it has frames to take away) without them."""

    judge: str
    form: Literal["compare", "score"]
    framed: list[Attempt]
    unframed: list[Attempt] | None

    @property
    def plain(self) -> dict[str, Any]:
        """The same as JSON holds it."""
        return asdict(self)


def tried(given: str) -> Iterator[Tried]:
    """Attack the judges of the config "FILE", or the one of "FILE:NAME", in both forms."""
    path, _, name = given.rpartition(":") if not Path(given).is_file() else (given, "", "")
    config, plugins = RunConfig.load(path or given).expanded(), Plugins.load()
    if not config.judges:
        raise ConfigError(f"{path or given}: it has no [judges.NAME] table, so there is no judge to check")
    if name and name not in config.judges:
        raise ConfigError(f"{path}: there is no [judges.{name}]{suggest(name, config.judges)}")
    policy = _policy(config, plugins)
    built, bare = build_judges(config.judges, plugins, policy), _unframed(config.judges, plugins)
    without = build_judges(bare, plugins, policy) if bare != config.judges else {}
    for judge in [name] if name else config.judges:
        for form in ("compare", "score"):
            attempts = attack(built[judge], form=form)
            yield Tried(judge, form, attempts, attack(without[judge], form=form) if without else None)


def _policy(config: RunConfig, plugins: Plugins) -> Any:
    """The policy of the config, if one of its judges judges with it."""
    asks = [use for use in config.judges.values() if "policy" in _options(use, plugins)]
    return plugins.build("policies", config.policy.use, config.policy.options) if asks else None


def _unframed(judges: Mapping[str, Use], plugins: Plugins) -> dict[str, Use]:
    """The same judges, those that can with their texts unframed."""
    return {
        name: use.model_copy(update={FRAMED: False}) if FRAMED in _options(use, plugins) else use
        for name, use in judges.items()
    }


def _options(use: Use, plugins: Plugins) -> Mapping[str, Any]:
    return parameters(plugins.find("judges", use.use).offer.resolve())


def table(its: Tried) -> Table:
    """For people: each attack with how many of the pairs went over, as configured and without frames."""
    from rich.table import Table

    pairs = its.framed[0].pairs
    title = f"judge {its.judge!r}, form {its.form!r}: {pairs} pairs that it gets right when nobody attacks"
    shown = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("attack", "fell for", "shift", "unheard", *(["without frames"] if its.unframed else [])):
        shown.add_column(heading, justify="left" if heading == "attack" else "right")
    for place, attempt in enumerate(its.framed):
        bare = [_share(its.unframed[place])] if its.unframed else []
        shown.add_row(attempt.name, _share(attempt), f"{attempt.shift:.2f}", str(attempt.unheard), *bare)
    totals = [_total(its.framed), "", "", *([_total(its.unframed)] if its.unframed else [])]
    shown.add_row("[bold]all", *totals)
    return shown


def _share(attempt: Attempt) -> str:
    colour = "red" if attempt.flips else "green"
    return f"[{colour}]{attempt.flips} of {attempt.heard}[/]"


def _total(attempts: list[Attempt]) -> str:
    flips, pairs = (sum(getattr(each, name) for each in attempts) for name in ("flips", "heard"))
    return f"[bold]{flips / pairs:.0%}" if pairs else ""
