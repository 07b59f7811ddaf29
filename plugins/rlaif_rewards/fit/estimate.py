"""Linear kinds: features, the strength that cross-validation likes best, a temperature, and weights on all rows.

The temperature is fitted to what models of the folds said of rows that they had not seen, and divided into the weights,
so that who loads the folder need not know of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlaif_rewards.fit.config import FitConfig
from rlaif_rewards.fit.data import Labelled, Preferences
from rlaif_rewards.fit.embedding import Embedding, Encoder
from rlaif_rewards.fit.features import Block, Features, Matrix, Tfidf, together
from rlaif_rewards.fit.linear import LinearScorer
from rlaif_rewards.fit.losses import cross_entropy, flips, unsure
from rlaif_rewards.fit.odin import length_head, lengths
from rlaif_rewards.fit.regress import Preferring, Stages, classify, prefer, strongest, temperature
from rlaif_rewards.fit.split import folds
from rlaif_rewards.reading import Shown

Array = NDArray[np.float64]
Rows = Sequence[int]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What was fitted, and what its fitting found out, for the report; `length` is ODIN's other head."""

    scorer: LinearScorer
    facts: dict[str, Any]
    length: LinearScorer | None = None

    def heads(self, shown: Sequence[Shown]) -> Array:
        """[N, heads]: what each head of a reward model says."""
        both = [self.scorer] if self.length is None else [self.scorer, self.length]
        return np.hstack([head.logits(shown) for head in both])

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the scorer; what belongs into `fit.json` is returned."""
        return self.scorer.save(folder)


def estimate(
    config: FitConfig,
    examples: Labelled | Preferences,
    encoder: Encoder | None = None,
    features: Features | None = None,
) -> Estimate:
    """Fit one of the linear kinds; `encoder` spares loading the language model again, `features` learning them."""
    if isinstance(examples, Labelled):
        return _classifier(config, examples, features or features_of(config, examples.shown, encoder))
    shown = (*examples.chosen, *examples.rejected)
    return _reward_model(config, examples, features or features_of(config, shown, encoder))


def encoder_of(config: FitConfig) -> Encoder:
    """The language model of `[linear] model`."""
    linear, fit = config.linear, config.fit
    return Encoder(linear.model, max_length=linear.max_length, batch=fit.batch, device=fit.device)


def features_of(config: FitConfig, shown: Sequence[Shown], encoder: Encoder | None) -> Features:
    """The features of the kind, their vocabularies and scales learnt from these texts."""
    linear, kind, paired = config.linear, config.fit.kind, config.framing == "pair"
    blocks: list[Block | None] = []
    if kind in ("tfidf", "stacked"):
        # A reward model compares answers to one prompt, whose own words would cancel out.
        both = paired and config.fit.target == "classifier"
        for part in ("answer", "context") if both else ("answer",):
            for unit, span in (("words", linear.words), ("characters", linear.characters)):
                if span:
                    least, most = span
                    options = {"least": least, "most": most, "rarest": linear.rarest, "features": linear.most}
                    blocks.append(Tfidf.fit(shown, part, unit, **options))  # type: ignore[arg-type]
    if kind in ("embedding", "stacked"):
        blocks.append(Embedding.fit(encoder or encoder_of(config), shown, linear.layers, related=paired))
    return together(blocks)


def _classifier(config: FitConfig, examples: Labelled, features: Features) -> Estimate:
    x, fit = features.of(examples.shown), config.fit
    doubted = unsure(torch.from_numpy(examples.targets), pairs=False)
    noise = flips(len(examples.labels), fit.noise) if fit.noise else None
    weights = examples.targets @ shares(examples.targets) if fit.balanced else np.ones(len(examples))
    counts = torch.from_numpy(weights)

    def unseen(strength: float) -> Array:
        def learn(rows: Rows) -> Callable[[Rows], Array]:
            its = list(rows)
            weight, bias = classify(x[its], examples.targets[its], strength, weights=weights[its], noise=fit.noise)
            return lambda asked: np.asarray(x[list(asked)] @ weight.T) + bias

        return crossed(examples.groups, config, learn)

    def loss(logits: Array, scale: float = 1.0) -> float:
        each = cross_entropy(torch.from_numpy(logits) / scale, doubted, noise)
        return float((counts * each).sum() / counts.sum())

    tried = {strength: unseen(strength) for strength in config.linear.strengths}
    strength = strongest(list(tried), lambda it: loss(tried[it]))
    scale = temperature(lambda it: loss(tried[strength], it))
    weight, bias = classify(x, examples.targets, strength, weights=weights, noise=fit.noise)
    scorer = LinearScorer(list(examples.labels), "exclusive", features, weight / scale, bias / scale)
    facts = {"strength": strength, "temperature": scale, "unseen_loss": {str(s): loss(t) for s, t in tried.items()}}
    return Estimate(scorer, {**facts, "features": features.width})


def _reward_model(config: FitConfig, examples: Preferences, features: Features) -> Estimate:
    shown = (*examples.chosen, *examples.rejected)
    x = features.of(shown)
    count = len(examples)
    gaps: Matrix = x[:count] - x[count:]
    ties, long = config.fit.ties, lengths(shown)
    stages = examples.stages if config.fit.ranking == "plackett_luce" else None

    def staged(its: Rows) -> Stages:
        return None if stages is None else stages[list(its)]

    def learn(rows: Rows, strength: float) -> tuple[Preferring, Array]:
        """What is preferred, and the weights [D] of the length head, which are 0 where there is none."""
        its = list(rows)
        both = [*its, *(row + count for row in its)]
        head = length_head(x[both], long[both]) if config.fit.odin else np.zeros(x.shape[1])
        found = prefer(
            gaps[its],
            examples.targets[its],
            strength,
            margins=examples.margins[its],
            annotators=examples.annotators[its],
            people=len(examples.people),
            ties=ties,
            apart=head,
            stages=staged(its),
        )
        return found, found.share * head

    def unseen(strength: float) -> tuple[Array, Array]:
        """[N] differences and [N] losses, each by a model that had not seen the row."""
        said, cost = np.zeros(count), np.zeros(count)
        for part in folds(examples.groups, config.linear.folds, config.fit.seed):
            its = list(part)
            found, length = learn(sorted(set(range(count)) - set(its)), strength)
            said[its] = np.asarray(gaps[its] @ found.weight)
            together = said[its] + np.asarray(gaps[its] @ length)  # the sum is what is fitted to preferences
            cost[its] = found.loss(together, examples.targets[its], examples.annotators[its], ties, staged(its))
        return said, cost

    tried = {strength: unseen(strength) for strength in config.linear.strengths}
    strength = strongest(list(tried), lambda it: float(tried[it][1].mean()))
    model, length = learn(range(count), strength)
    said, doubted = tried[strength][0], unsure(torch.from_numpy(examples.targets), pairs=True).numpy()
    scale = temperature(lambda it: model.loss(said / it, doubted, examples.annotators, ties))
    weight = model.weight / scale
    # Comparisons say nothing of where zero is: put it at the mean of what was compared.
    centre = float(np.asarray(x @ weight).mean())
    scorer = LinearScorer(["reward"], "independent", features, weight[None], np.array([-centre]))
    other = LinearScorer(["length"], "independent", features, length[None] / scale, np.zeros(1))
    facts: dict[str, Any] = {"strength": strength, "temperature": scale, "features": features.width}
    facts["unseen_loss"] = {str(each): float(cost.mean()) for each, (_, cost) in tried.items()}
    if ties != "none":
        facts["tie_strength"] = model.tie
    if examples.people:
        facts["reliability"] = dict(zip(examples.people, model.reliability.tolist(), strict=True))
    return Estimate(scorer, facts, other if config.fit.odin else None)


def crossed(groups: Sequence[str], config: FitConfig, learn: Callable[[Rows], Callable[[Rows], Array]]) -> Array:
    """[N, ...]: of each row what is said by who learnt from the folds that it is not in."""
    found: Array | None = None
    for part in folds(groups, config.linear.folds, config.fit.seed):
        seen = sorted(set(range(len(groups))) - set(part))
        said = learn(seen)(part)
        found = np.zeros((len(groups), *said.shape[1:])) if found is None else found
        found[list(part)] = said
    assert found is not None
    return found


def shares(targets: Array) -> Array:
    """[L]: what a row of each label counts, for all labels of targets [N, L] to count alike and rows 1 on the mean."""
    found = targets.mean(0)
    there = found > 0
    counted: Array = np.where(there, 1 / np.maximum(found, 1e-12), 0.0) / there.sum()
    return counted
