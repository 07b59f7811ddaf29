"""What a fitted model is worth on rows that it never saw, beside a plain baseline in the same table.

A reward model is measured on both orders of each pair, so that it cannot score by always naming the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import rankdata
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from rlaif_core import FeedbackError
from rlaif_core.agreement import bootstrap
from rlaif_core.calibration import brier, calibration_error, negative_log_likelihood, reliability
from rlaif_rewards.fit.data import Labelled, Preferences, key
from rlaif_rewards.reading import Shown
from rlaif_rewards.scorer import Instrument

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
DRAWS = 500
"""Of the bootstrap."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a model said of held-out rows: probabilities and what came true, [M] or for labels [M, L]."""

    chances: Array
    true: Array
    groups: tuple[str, ...]


def said_of_labels(chances: Array, examples: Labelled, positive: int) -> Said:
    """Of two labels the chance of the positive one [N], of more all of them [N, L]."""
    if len(examples.labels) == 2:
        return Said(chances[:, positive], examples.targets[:, positive], examples.groups)
    return Said(chances, examples.targets, examples.groups)


def said_of_pairs(gaps: Array, examples: Preferences) -> Said:
    """The chance [2N] that the first is the better one, of both orders of each pair, ties left open."""
    # Of both orders alike, so that equal gaps are equal chances to the last digit: AUROC looks at which is greater.
    chances = 1 / (1 + np.exp(-np.clip(np.concatenate([gaps, -gaps]), -500, 500)))
    true = examples.targets[:, 0] + examples.targets[:, 1] / 2
    return Said(chances, np.concatenate([true, 1 - true]), examples.groups * 2)


def measured(said: Said) -> dict[str, Any]:
    """The figures of a row of the table; intervals are of 95 %, by bootstrap over groups."""
    flat, came = said.chances.ravel(), said.true.ravel()
    rows = np.arange(len(said.groups))
    return {
        "auroc": _auroc(said, rows),
        "auroc_interval": _interval(lambda its: _auroc(said, its), said),
        "accuracy": _accuracy(said, rows),
        "accuracy_interval": _interval(lambda its: _accuracy(said, its), said),
        "brier": brier(flat, came),
        "log_loss": negative_log_likelihood(flat, came),
        "ece": calibration_error(flat, came),
        "reliability": [asdict(row) for row in reliability(flat, came)],
    }


def _interval(statistic: Callable[[Rows], float | None], said: Said) -> tuple[float, float] | None:
    rows = np.arange(len(said.groups))
    found = bootstrap(statistic, rows, groups=said.groups, draws=DRAWS)  # type: ignore[arg-type]  # an array is taken
    return None if found.low is None or found.high is None else (found.low, found.high)


def auroc(said: Array, true: Array) -> float | None:
    """How likely what came true was given the higher chance (Mann and Whitney 1947); None where all or nothing did.

    Shares count as what is the more likely.
    """
    happened = true > 0.5
    wins, losses = int(happened.sum()), int((~happened).sum())
    if not wins or not losses:
        return None
    return float((rankdata(said)[happened].sum() - wins * (wins + 1) / 2) / (wins * losses))


def _auroc(said: Said, rows: Rows) -> float | None:
    """Of several labels the mean over those that occur, each against the rest."""
    if said.chances.ndim == 1:
        return auroc(said.chances[rows], said.true[rows])
    each = [auroc(said.chances[rows, label], said.true[rows, label]) for label in range(said.chances.shape[1])]
    known = [value for value in each if value is not None]
    return sum(known) / len(known) if known else None


def _accuracy(said: Said, rows: Rows) -> float | None:
    """Rows that are undecided (a tie) are left out; a chance of exactly one half is half right."""
    if said.chances.ndim > 1:
        return float((said.chances[rows].argmax(1) == said.true[rows].argmax(1)).mean())
    decided = rows[said.true[rows] != 0.5]
    right = (said.chances[decided] > 0.5) == (said.true[decided] > 0.5)
    return float(np.where(said.chances[decided] == 0.5, 0.5, right).mean()) if len(decided) else None


# ---- who is measured ----


def judged(scorer: Instrument, held: Labelled | Preferences, positive: int = 1) -> Said:
    """What a scorer says of the rows held out."""
    if isinstance(held, Labelled):
        logits = scorer.read(held.shown).logits.double()
        chances = logits.softmax(1) if scorer.problem == "exclusive" else logits.sigmoid()
        return said_of_labels(_whole(chances.numpy()), held, positive)
    return said_of_pairs(gaps_of(scorer, held), held)


def gaps_of(scorer: Instrument, held: Preferences) -> Array:
    """[N]: by how much the chosen answers are rewarded more."""
    rewards = scorer.read((*held.chosen, *held.rejected)).logits.double()[:, 0].numpy()
    return _whole(rewards[: len(held)] - rewards[len(held) :])


def _whole(values: Array) -> Array:
    if not np.isfinite(values).all():
        raise FeedbackError("the fitted model computes no number for some texts; lower [transformer] lr, and fit again")
    return values


def baseline(learnt: Labelled | Preferences, held: Labelled | Preferences, positive: int = 1) -> Said:
    """Plain TF-IDF of words and logistic regression as scikit-learn sets them up, on what was learnt from."""
    vectoriser = TfidfVectorizer()
    if isinstance(learnt, Labelled) and isinstance(held, Labelled):
        x = vectoriser.fit_transform(_texts(learnt.shown))
        names = learnt.targets.argmax(1)
        model = LogisticRegression(max_iter=1000).fit(x, names)
        chances = np.zeros((len(held), len(held.labels)))
        chances[:, model.classes_] = model.predict_proba(vectoriser.transform(_texts(held.shown)))
        return said_of_labels(chances, held, positive)
    assert isinstance(learnt, Preferences)
    assert isinstance(held, Preferences)
    vectoriser.fit([*_texts(learnt.chosen), *_texts(learnt.rejected)])
    gaps, asked = (
        vectoriser.transform(_texts(its.chosen)) - vectoriser.transform(_texts(its.rejected)) for its in (learnt, held)
    )
    better = learnt.targets[:, 0] >= learnt.targets[:, 2]
    signs = np.where(better, 1.0, -1.0)
    both = sparse.vstack([gaps.multiply(signs[:, None]), gaps.multiply(-signs[:, None])]).tocsr()
    model = LogisticRegression(fit_intercept=False, max_iter=1000).fit(both, np.repeat([1, 0], len(learnt)))
    return said_of_pairs(np.asarray(asked @ model.coef_[0]), held)


def by_length(learnt: Preferences, held: Preferences) -> Said:
    """Whatever of longer and shorter was preferred more often where it was learnt from."""

    def gaps(its: Preferences) -> Array:
        pairs = zip(its.chosen, its.rejected, strict=True)
        return np.array([float(len(one.answer) - len(other.answer)) for one, other in pairs])

    lead = learnt.targets[:, 0] - learnt.targets[:, 2]
    right = float((lead * np.sign(gaps(learnt)) > 0).mean())
    sure = min(max(right, 1 / (len(learnt) + 2)), 1 - 1 / (len(learnt) + 2))
    return said_of_pairs(np.sign(gaps(held)) * np.log(sure / (1 - sure)), held)


def _texts(shown: Sequence[Shown]) -> list[str]:
    return ["\n".join(key(each)).strip() for each in shown]
