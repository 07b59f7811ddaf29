"""The judges of a labelling, and the policy that draws answers: resolved and checked, then built."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from rlaif_core import ConfigError, Plugins
from rlaif_core.errors import suggest
from rlaif_core.references import build_judges, handed, in_order, wants_policy
from rlaif_judges.forms import LABELS
from rlaif_judges.label.config import LabelConfig
from rlaif_judges.language import LanguageJudge


def chosen(config: LabelConfig, plugins: Plugins) -> list[str]:
    """The names of the judges that label, the one that decides first; every table is checked, nothing is built."""
    plugins.require(config.plugins.require)
    known = config.judges
    asked: set[str] = set()
    for name in in_order(known, plugins):
        listing, options = plugins.find("judges", known[name].use), known[name].options
        objects = handed(listing, options, known)
        plugins.options("judges", known[name].use, {**options, **objects}, objects=objects)
        asked |= {its for names in objects.values() for its in names or ()}
        if wants_policy(listing) and config.policy is None:
            raise ConfigError(f"judge {name!r} judges with the policy, but there is no [policy] table")
    if config.policy is not None:
        plugins.options("policies", config.policy.use, config.policy.options)
    names = config.label.judges or [name for name in known if name not in asked]
    for name in names:
        if name not in known:
            raise ConfigError(f"[label] judges names {name!r}, but there is no [judges.{name}]{suggest(name, known)}")
    if len({*names}) < len(names):
        raise ConfigError(f"[label] judges names {max(names, key=names.count)!r} twice")
    if unheard := {*known} - {*names} - asked:
        raise ConfigError(f"[judges.{min(unheard)}] is asked by nobody; name it in [label] judges, or drop it")
    if {*config.label.what} & {"critiques", "revisions"}:
        for name in names:
            _check_writes(name, plugins.find("judges", known[name].use).offer.resolve())
    return names


def built(config: LabelConfig, plugins: Plugins) -> tuple[dict[str, Any], Any]:
    """Every judge by its name, and the policy (None where nobody needs one); `config` has been checked."""
    policy = None
    judging = any(wants_policy(plugins.find("judges", use.use)) for use in config.judges.values())
    if config.policy is not None and (config.answers.samples or judging):
        policy = plugins.build("policies", config.policy.use, config.policy.options)
    return build_judges(config.judges, plugins, policy), policy


def check_able(config: LabelConfig, judges: Mapping[str, Any], most: int) -> None:
    """Raise where a judge that was built cannot write what is asked of it, or rank the `most` answers to a prompt."""
    for name, judge in judges.items():
        if "ranking" in config.label.what and isinstance(judge, LanguageJudge) and most > len(LABELS):
            raise ConfigError(
                f"judge {name!r} ranks at most {len(LABELS)} answers at once, but a prompt has {most}; ask for "
                "preferences, with [label] pairs so many of them"
            )
    if {*config.label.what} & {"critiques", "revisions"}:
        for name, judge in judges.items():
            _check_writes(name, judge)


def _check_writes(name: str, judge: Any) -> None:
    if (inspect.isclass(judge) or not inspect.isroutine(judge)) and not callable(getattr(judge, "write", None)):
        kind = judge.__name__ if inspect.isclass(judge) else type(judge).__name__
        raise ConfigError(
            f"judge {name!r} ({kind}) writes no texts, but [label] what asks for critiques or revisions; take a "
            "language model, and leave the others to a labelling of their own"
        )
