"""What every step reports, whatever the optimiser: rewards by source, costs by channel, failures, length, speed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rlaif_core.feedback import Abstain, Failed, Score
from rlaif_core.types import Experience, Metrics

if TYPE_CHECKING:
    from rlaif_core.loop import Source


def measure(experience: Experience, reported: Metrics, sources: Mapping[str, Source], seconds: float) -> Metrics:
    """The batch means of one step beside the optimiser's own metrics.

    `reward` and `cost/<channel>` are weighted sums over the configured sources, averaged over the answers that count;
    what the optimiser contributes (a KL penalty, a learnt reward) shows as `reward/<source>` alone. Seconds are of the
    wall clock; tokens are those that the policy chose.
    """
    rollouts, feedback = experience.rollouts, experience.feedback
    assert experience.counted is not None
    counted = experience.counted.tolist()
    metrics: dict[str, float] = {}
    for name, said in feedback.outcomes.items():
        values = [outcome.value for outcome in said if isinstance(outcome, Score)]
        if not values:
            continue
        mean = sum(values) / len(values)
        source = sources.get(name)
        channel = feedback.channels[name]
        metrics[f"reward/{name}"] = mean
        if source is None or not source.contributed:
            kept = [o.value for o, counts in zip(said, counted, strict=True) if counts and isinstance(o, Score)]
            total = feedback.weights[name] * sum(kept) / max(sum(counted), 1)
            key = "reward" if channel == "reward" else channel.replace("cost:", "cost/")
            metrics[key] = metrics.get(key, 0.0) + total
    tokens = float(rollouts.mask.sum())
    return Metrics(
        {
            "reward": 0.0,
            **metrics,
            "length": tokens / len(rollouts),
            "truncated": sum(finish == "length" for finish in rollouts.finish) / len(rollouts),
            "failed": feedback.fraction(Failed),
            "abstained": feedback.fraction(Abstain),
            "seconds": seconds,
            "tokens_per_second": tokens / max(seconds, 1e-9),
            **reported,
        }
    )
