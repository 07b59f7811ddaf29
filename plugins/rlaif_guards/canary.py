"""The canary: a judge that no training sees scores what the policy says, and warns where it parts from the reward.

What a policy over-optimises is the reward that it is given; another opinion, asked now and then, falls while that still
rises (Gao, Schulman and Hilton 2022, Scaling laws for reward model overoptimization).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, variance
from typing import Literal

from rlaif_core import (
    ConfigError,
    Experience,
    Failed,
    FeedbackError,
    Judge,
    Outcome,
    Question,
    Rollouts,
    Score,
    Stop,
)
from rlaif_core.protocols import State
from rlaif_core.verdicts import verdicts_of


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found: means over prompts of both scores, the error of the mean of gold (a variance), and, at the
    first look, the standard deviations over answers that later ones are measured by."""

    step: int
    gold: float
    proxy: float
    error: float
    gold_spread: float
    proxy_spread: float


class Canary:
    """Every `every` steps, what a judge held out (`judge`, a [judges] table) or a reward source held out (`source`, a
    [[rewards]] table of weight 0) says of the answers to a `share` of the prompts, as metrics: canary/gold,
    canary/proxy (the reward), canary/gap (the rise of the reward since the first look, less that of gold, each in its
    standard deviations then), canary/drop (below). A judge that fails on all of them stops the run, for nobody would
    notice that the canary is silent.

    Alarm: over the last `window` looks gold is below the best `window` looks before by more than `noise` standard
    errors (canary/drop, over prompts), while the reward is above what it was then. action: "warn", or "stop" the run in
    good order; the message names the step at which gold was best, to which `rlaif resume --step` goes back.
    """

    def __init__(
        self,
        judge: Judge | None = None,
        source: str = "",
        every: int = 5,
        share: float = 1.0,
        window: int = 3,
        noise: float = 3.0,
        action: Literal["warn", "stop"] = "warn",
    ) -> None:
        if (judge is None) == (not source):
            raise ConfigError("canary: name a judge or a source of weight 0 that says what was meant, and not both")
        if every < 1 or window < 1 or not 0 < share <= 1 or not noise >= 0:
            raise ConfigError(
                f"canary: every is {every}, window {window}, share {share:g}, noise {noise:g}; "
                "every and window must be at least 1, share above 0 and at most 1, noise at least 0"
            )
        self._judge, self._source, self._every, self._share = judge, source, every, share
        self._window, self._noise, self._action = window, noise, action
        self._looks: list[Look] = []
        self._alarmed = False

    def observe(self, step: int, experience: Experience) -> Mapping[str, float]:
        if (step - 1) % self._every:
            return {}
        look = self._look(step, experience)
        if look is None:
            return {}
        self._looks.append(look)
        first, found = self._looks[0], drop(self._looks, self._window)
        metrics = {"canary/gold": look.gold, "canary/proxy": look.proxy}
        if first.gold_spread > 0 and first.proxy_spread > 0:
            risen = (look.proxy - first.proxy) / first.proxy_spread, (look.gold - first.gold) / first.gold_spread
            metrics["canary/gap"] = risen[0] - risen[1]
        if found is not None:
            metrics["canary/drop"] = found.errors
            self._alarm(found)
        return metrics | {"canary/alarm": float(self._alarmed)}

    def _alarm(self, found: Drop) -> None:
        was, self._alarmed = self._alarmed, found.errors > self._noise and found.proxy_rose
        if not self._alarmed:
            return
        said = (
            f"gold fell from {found.best:.3g} to {found.now:.3g} ({found.errors:.1f} standard errors) while the reward "
            f"rose; it was best around step {found.step}"
        )
        if self._action == "stop":
            raise Stop(f"{said}; go back to a checkpoint of that time with `rlaif resume --step`")
        if not was:
            warnings.warn(f"canary: {said}", RuntimeWarning, stacklevel=2)

    def _look(self, step: int, experience: Experience) -> Look | None:
        """None where there is nothing that both have scored."""
        labels = list(dict.fromkeys(experience.rollouts.group.tolist()))
        chosen = set(labels[: math.ceil(self._share * len(labels))])
        rows = [row for row, label in enumerate(experience.rollouts.group.tolist()) if label in chosen]
        rollouts, feedback = experience.rollouts.take(rows), experience.feedback.take(rows)
        proxy, counted = feedback.totals(rollouts.group, contributed=False)
        said = self._said(rollouts, feedback.outcomes, feedback.weights)
        both = [
            (label, outcome.value, value)
            for label, outcome, value, counts in zip(
                rollouts.group.tolist(), said, proxy.tolist(), counted.tolist(), strict=True
            )
            if isinstance(outcome, Score) and counts
        ]
        if not both:
            if failed := [outcome for outcome in said if isinstance(outcome, Failed)]:
                raise FeedbackError(
                    f"canary: what is held out failed on {len(failed)} of {len(said)} answers and scored none, so that "
                    f"nothing guards the run: {failed[0].reason}"
                )
            return None
        groups = [[it for it in both if it[0] == label] for label in dict.fromkeys(it[0] for it in both)]
        golds = [fmean(gold for _, gold, _ in its) for its in groups]
        return Look(
            step,
            fmean(golds),
            fmean(fmean(value for *_, value in its) for its in groups),
            variance(golds) / len(golds) if len(golds) > 1 else 0.0,
            _spread([gold for _, gold, _ in both]),
            _spread([value for *_, value in both]),
        )

    def _said(
        self, rollouts: Rollouts, outcomes: Mapping[str, Sequence[Outcome]], weights: Mapping[str, float]
    ) -> Sequence[Outcome]:
        if self._judge is None:
            if weights.get(self._source) != 0:
                there = ", ".join(name for name, weight in weights.items() if weight == 0) or "none"
                raise ConfigError(
                    f"canary: {self._source!r} is no source of weight 0, so the policy would learn from its canary; "
                    f"give its [[rewards]] table weight = 0. Of weight 0: {there}"
                )
            return outcomes[self._source]
        pairs = zip(rollouts.prompts, rollouts.completions, strict=True)
        questions = [Question(prompt=prompt, answers=(answer,)) for prompt, answer in pairs]
        return [verdict.outcomes[0] for verdict in verdicts_of(self._judge, questions)]

    def state_dict(self) -> State:
        return {"looks": [asdict(look) for look in self._looks], "alarmed": self._alarmed}

    def load_state_dict(self, state: State) -> None:
        self._looks = [Look(**look) for look in state["looks"]]
        self._alarmed = state["alarmed"]


@dataclass(frozen=True, slots=True)
class Drop:
    """By how many standard errors gold is below its best, what it was and is, when that was, and whether the reward is
    above what it was then."""

    errors: float
    best: float
    now: float
    step: int
    proxy_rose: bool


def drop(looks: Sequence[Look], window: int) -> Drop | None:
    """The last `window` looks against the best `window` that end before them; None while there are too few."""
    if len(looks) < 2 * window:
        return None
    spans = [looks[start : start + window] for start in range(len(looks) - 2 * window + 1)]
    best, now = max(spans, key=_gold), looks[-window:]
    error = math.sqrt(sum(look.error for look in (*best, *now))) / window
    fallen = _gold(best) - _gold(now)
    errors = fallen / error if error > 0 else math.copysign(0.0 if not fallen else 1e9, fallen)
    rose = fmean(look.proxy for look in now) > fmean(look.proxy for look in best)
    return Drop(errors, _gold(best), _gold(now), best[-1].step, rose)


def _gold(looks: Sequence[Look]) -> float:
    return fmean(look.gold for look in looks)


def _spread(values: Sequence[float]) -> float:
    return math.sqrt(variance(values)) if len(values) > 1 else 0.0
