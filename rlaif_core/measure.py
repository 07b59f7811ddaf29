"""What every step reports, whatever the optimiser: rewards by source, costs by channel, failures, length, speed."""

from __future__ import annotations

from rlaif_core.errors import PluginError
from rlaif_core.feedback import Abstain, Failed, Score
from rlaif_core.types import Experience, Metrics


def measure(experience: Experience, reported: Metrics, seconds: float, observed: Metrics | None = None) -> Metrics:
    """The batch means of one step beside the optimiser's own metrics and what the observers saw.

    `reward` and `cost/<channel>` are the weighted sums over the configured sources, averaged over the answers that
    count in the experience and have a score; `reward/<source>` is a source's own mean over all answers, unweighted, and
    all there is of what the optimiser contributes (a KL penalty); `unshaped/<source>` is the mean before scores were
    shaped, where they are. Where nobody scored anything there is neither, for no score is not a score of 0.
    `counted` is the share of the answers that count. Seconds are of the wall clock; tokens are those that the policy
    chose.
    """
    rollouts, feedback = experience.rollouts, experience.feedback
    assert experience.counted is not None
    takes_part = experience.counted.cpu()
    metrics: dict[str, float] = {}
    for channel in dict.fromkeys(feedback.channels.values()):
        if feedback.sources(channel, contributed=False):
            values, scored = feedback.totals(rollouts.group, channel, contributed=False)
            counted = scored & takes_part
            name = channel if channel == "reward" else channel.replace("cost:", "cost/")
            if bool(counted.any()):
                metrics[name] = float(values.where(counted, 0.0).sum()) / int(counted.sum())
    for name in feedback.sources("reward"):
        scores = [outcome for outcome in feedback.outcomes[name] if isinstance(outcome, Score)]
        if scores:
            metrics[f"reward/{name}"] = sum(its.value for its in scores) / len(scores)
        if before := [its.unshaped for its in scores if its.unshaped is not None]:
            metrics[f"unshaped/{name}"] = sum(before) / len(before)
    tokens = float(rollouts.mask.sum())
    metrics |= {
        "length": tokens / len(rollouts),
        "truncated": sum(finish == "length" for finish in rollouts.finish) / len(rollouts),
        "counted": float(takes_part.float().mean()),
        "failed": feedback.fraction(Failed),
        "abstained": feedback.fraction(Abstain),
        "seconds": seconds,
        "tokens_per_second": tokens / max(seconds, 1e-9),
    }
    if twice := sorted(set(metrics) & set(reported)):
        raise PluginError(f"the optimiser reports {twice[0]!r}, which every run measures itself; name it otherwise")
    if twice := sorted(set(observed or ()) & {*metrics, *reported}):
        raise PluginError(f"an observer reports {twice[0]!r}, which there is already; name it otherwise")
    return Metrics({**metrics, **reported, **(observed or {})})
