"""Every hook of rlaif, typed, each with an example that runs.

Offer hooks are asked once, at start; the config chooses from the offers by name. Event hooks are told what happened;
what they return is ignored. Hook wrappers are not supported on offer hooks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

from rlaif_core.offers import Offer

if TYPE_CHECKING:
    from typer import Typer

    from rlaif_core.protocols import Action, Credit, Judge, Observer, Optimiser, Policy, RewardSource
    from rlaif_core.run import Run
    from rlaif_core.types import Experience, Metrics

hookspec = pluggy.HookspecMarker("rlaif")


@hookspec
def rlaif_policies() -> Iterable[Offer[Policy]]:  # type: ignore[empty-body]
    """Offer models to train, chosen by `[policy] use = "..."` or `model = "builtin:..."`.

    >>> import rlaif_core as rl
    >>> @rl.hookimpl
    ... def rlaif_policies():
    ...     yield rl.Offer("mine", "my_package.policy:MyPolicy", "a policy behind my inference server")
    """


@hookspec
def rlaif_actions() -> Iterable[Offer[Action]]:  # type: ignore[empty-body]
    """Offer ways to produce answers; `[[actions]]` tables are chained from top to bottom.

    >>> import rlaif_core as rl
    >>> class Shout:
    ...     def act(self, sampler, prompts, draft):
    ...         return sampler.sample(prompts, rl.Sampling(max_tokens=8))
    >>> @rl.hookimpl
    ... def rlaif_actions():
    ...     yield rl.Offer("shout", Shout, "eight tokens, no more")
    """


@hookspec
def rlaif_judges() -> Iterable[Offer[Judge]]:  # type: ignore[empty-body]
    """Offer judges, chosen by `[judges.NAME] use = "..."` and shared by the rewards that name them.

    >>> import rlaif_core as rl
    >>> class Terse:
    ...     def ask(self, questions):
    ...         return [rl.Verdict(outcomes=tuple(rl.Score(-len(a)) for a in q.answers)) for q in questions]
    >>> @rl.hookimpl
    ... def rlaif_judges():
    ...     yield rl.Offer("terse", Terse, "the shorter the better")
    """


@hookspec
def rlaif_rewards() -> Iterable[Offer[RewardSource]]:  # type: ignore[empty-body]
    """Offer reward sources; `[[rewards]]` tables are summed by weight within their channel.

    >>> import rlaif_core as rl
    >>> class Politeness:
    ...     def __init__(self, word: str = "please") -> None:
    ...         self.word = word
    ...     def score(self, rollouts):
    ...         return [rl.Score(float(self.word in text)) for text in rollouts.completions]
    >>> @rl.hookimpl
    ... def rlaif_rewards():
    ...     yield rl.Offer("politeness", Politeness, "1 for the magic word")
    """


@hookspec
def rlaif_credits() -> Iterable[Offer[Credit]]:  # type: ignore[empty-body]
    """Offer credit assignments, chosen by `[credit] use = "..."`.

    >>> import rlaif_core as rl
    >>> @rl.hookimpl
    ... def rlaif_credits():
    ...     yield rl.Offer("mine", "my_package.credit:Mine", "credit to the last word only")
    """


@hookspec
def rlaif_optimisers() -> Iterable[Offer[Optimiser]]:  # type: ignore[empty-body]
    """Offer optimisers, chosen by `[optimiser] use = "..."`.

    >>> import rlaif_core as rl
    >>> @rl.hookimpl
    ... def rlaif_optimisers():
    ...     yield rl.Offer("sign", "my_package.sign:SignAscent", "ascend the sign of the policy gradient")
    """


@hookspec
def rlaif_observers() -> Iterable[Offer[Observer]]:  # type: ignore[empty-body]
    """Offer observers, which look at every step before it is taken; `[[observers]]` tables are all told.

    >>> import rlaif_core as rl
    >>> class Longest:
    ...     def observe(self, step, experience):
    ...         return {"longest": max(map(len, experience.rollouts.completions))}
    >>> @rl.hookimpl
    ... def rlaif_observers():
    ...     yield rl.Offer("longest", Longest, "the length of the longest answer")
    """


@hookspec
def rlaif_commands(app: Typer) -> None:
    """Add verbs to the command line.

    >>> import rlaif_core as rl
    >>> @rl.hookimpl
    ... def rlaif_commands(app):
    ...     @app.command()
    ...     def hello() -> None:
    ...         print("hello from a plugin")
    """


@hookspec
def rlaif_run_started(run: Run) -> None:
    """Told once, before the first step.

    >>> import rlaif_core as rl
    >>> @rl.hookimpl
    ... def rlaif_run_started(run):
    ...     print("writing to", run.folder)
    """


@hookspec
def rlaif_step_finished(step: int, experience: Experience, metrics: Metrics) -> None:
    """Told after every step, before its checkpoint. The values are frozen.

    >>> import rlaif_core as rl
    >>> @rl.hookimpl
    ... def rlaif_step_finished(step, metrics):
    ...     print(step, metrics["reward"])
    """


@hookspec
def rlaif_run_finished(run: Run, error: BaseException | None) -> None:
    """Told once at the end; `error` is what stopped the run, or None.

    >>> import rlaif_core as rl
    >>> @rl.hookimpl
    ... def rlaif_run_finished(run, error):
    ...     print("stopped by" if error else "finished", error or "")
    """


def specifications() -> Any:
    """This module, as the plugin manager wants it."""
    import sys

    return sys.modules[__name__]
