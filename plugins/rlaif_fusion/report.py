"""What a fusion came to: how reliable its sources are, how far they agree, and how good it is on labels held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from rlaif_core.agreement import Interval, bootstrap, cohen_kappa, krippendorff_alpha, pairwise_accuracy
from rlaif_core.calibration import brier, calibration_error, negative_log_likelihood, reliability
from rlaif_fusion.fuse import Fused
from rlaif_fusion.prediction_powered import prediction_powered_mean
from rlaif_fusion.reading import Column, Rows

BINS = 10


def report(rows: Rows, fused: Fused, *, level: float, seed: int) -> dict[str, Any]:
    """All that can be said of it, as JSON."""
    votes = {name: [_side(kind, said) for said in rows.said[name]] for name, kind in rows.kinds.items()}
    sources = {}
    for name, said in votes.items():
        sources[name] = {
            "kind": rows.kinds[name],
            "said": sum(vote is not None for vote in said),
            "neither": sum(vote == 0.5 for vote in said),
            "reliability": asdict(fused.reliability[name]),
            "bias": dict(fused.bias[name]),
            "weight": asdict(fused.fusion.weights[name]),
        }
    known = sum(label in (0.0, 1.0) for label in rows.trusted)
    found: dict[str, Any] = {
        "method": fused.method,
        "notes": list(fused.notes),
        "pairs": len(rows.prompts),
        "fused": sum(p is not None for p in fused.probabilities),
        "trusted": known,
        "sources": sources,
        "kappa": {f"{a} / {b}": cohen_kappa(votes[a], votes[b]) for a, b in combinations(votes, 2)},
        "alpha": krippendorff_alpha(list(zip(*votes.values(), strict=True))),
        "error_correlation": {f"{a} / {b}": value for (a, b), value in fused.error_correlation.items()},
    }
    rows_out = [row for row, label in enumerate(rows.held_out) if label in (0.0, 1.0)]
    if rows_out:
        found["held_out"] = held_out(rows, fused, rows_out, level=level, seed=seed)
    return found


def held_out(rows: Rows, fused: Fused, chosen: Sequence[int], *, level: float, seed: int) -> dict[str, Any]:
    """On labels that nothing was fitted to: accuracies (a tie counts half, silence too), the best source, the paired
    difference to it, calibration, and how often the first answer is better among all pairs."""
    truth = [2 * float(rows.held_out[row] or 0) - 1 for row in chosen]
    groups = [rows.prompts[row].text or str(rows.prompts[row].messages) for row in chosen]
    said = {name: [_margin(_side(kind, rows.said[name][row])) for row in chosen] for name, kind in rows.kinds.items()}
    probabilities = [_settled(fused.probabilities[row]) for row in chosen]
    ours = [_margin(p) for p in probabilities]
    accuracies = {name: _accuracy(margins, truth) for name, margins in said.items()}
    best = max(accuracies, key=lambda name: accuracies[name] or 0.0)

    def gain(one: Column, other: Column, gold: list[float]) -> float | None:
        return (_accuracy(one, gold) or 0.0) - (_accuracy(other, gold) or 0.0)

    options = {"groups": groups, "level": level, "seed": seed}
    outcomes = [float(side > 0) for side in truth]
    found = {
        "pairs": len(chosen),
        "accuracy": asdict(bootstrap(_accuracy, ours, truth, **options)),  # type: ignore[arg-type]
        "sources": accuracies,
        "best_source": best,
        "gain": asdict(bootstrap(gain, ours, said[best], truth, **options)),  # type: ignore[arg-type]
        "brier": brier(probabilities, outcomes),
        "nll": negative_log_likelihood(probabilities, outcomes),
        "ece": calibration_error(probabilities, outcomes, bins=BINS),
        "ece_equal_mass": calibration_error(probabilities, outcomes, bins=BINS, equal="mass"),
        "reliability_table": [asdict(row) for row in reliability(probabilities, outcomes, bins=BINS, equal="mass")],
    }
    if len(chosen) > 1:
        labelled = {*chosen, *(row for row, label in enumerate(rows.trusted) if label is not None)}
        others = [_settled(p) for row, p in enumerate(fused.probabilities) if row not in labelled]
        estimate = prediction_powered_mean(outcomes, probabilities, others, level=level)
        low, high = estimate.interval.low or 0.0, estimate.interval.high or 0.0
        within = Interval(min(1.0, max(0.0, estimate.mean)), max(0.0, low), min(1.0, high), level)
        found["first_is_better"] = asdict(within)
    return found


def _accuracy(margins: Column, truth: Sequence[float]) -> float | None:
    return pairwise_accuracy([margin or 0.0 for margin in margins], truth, ties="half")


def _settled(probability: float | None) -> float:
    return 0.5 if probability is None else probability


def _margin(vote: float | None) -> float | None:
    return None if vote is None else 2 * vote - 1


def _side(kind: str, said: float | None) -> float | None:
    """What was said as a vote: 1, 0 or 0.5."""
    if said is None:
        return None
    margin = said if kind == "score" else said - 0.5
    return 0.5 if margin == 0 else float(margin > 0)


def lines(found: dict[str, Any]) -> tuple[list[tuple[str, ...]], list[str]]:
    """The table of sources (its first row are the titles), and what else is worth reading, a line each."""
    out = found.get("held_out", {})
    titles = ("source", "said", "reliability", "held out", "bias", "weight")
    table: list[tuple[str, ...]] = [titles]
    for name, its in found["sources"].items():
        accuracy = out.get("sources", {}).get(name)
        table.append(
            (
                name,
                str(its["said"]),
                str(Interval(**its["reliability"])),
                "" if accuracy is None else f"{accuracy:.3f}",
                ", ".join(f"{what} {value:+.2f}" for what, value in its["bias"].items()),
                f"{its['weight']['slope']:+.2f}",
            )
        )
    told = [f"{found['fused']} of {found['pairs']} pairs by {found['method']}, {found['trusted']} trusted labels"]
    alpha = "undefined" if found["alpha"] is None else f"{found['alpha']:.3f}"
    told.append(f"agreement: alpha {alpha}{_extremes('kappa', found['kappa'])}")
    if together := _extremes("correlation", found["error_correlation"]):
        told.append(f"errors{together.replace(';', ':', 1)}")
    if out:
        gain = Interval(**out["gain"])
        told.append(
            f"held out ({out['pairs']} pairs): accuracy {Interval(**out['accuracy'])}, {gain} more than "
            f"{out['best_source']}; Brier {out['brier']:.3f}, ECE {out['ece']:.3f}"
        )
        if "first_is_better" in out:
            told.append(f"the first answer is better in {Interval(**out['first_is_better'])} of all pairs")
    return table, told + [f"note: {note}" for note in found["notes"]]


def _extremes(what: str, values: dict[str, float | None]) -> str:
    """The least and the greatest of a statistic of pairs of sources; the report has all of them."""
    known = {pair: value for pair, value in values.items() if value is not None}
    if not known:
        return ""
    order = sorted(known, key=lambda pair: known[pair] or 0.0)
    shown = [f"{known[pair]:.2f} ({pair})" for pair in dict.fromkeys((order[0], order[-1]))]
    return f"; {what} {'from ' if len(shown) > 1 else ''}{' to '.join(shown)}"
