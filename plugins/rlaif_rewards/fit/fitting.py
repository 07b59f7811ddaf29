"""From a config to a folder: read, split, fit, measure beside a baseline, and write what was found.

The folder is whole or absent. Beside the model it holds `fit.json` (how to read it), `report.json` (what it is worth),
`calibration.json` and `reliability.svg` (what its probabilities are worth), and `config.toml`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
import torch

from rlaif_core import ConfigError, DataError
from rlaif_core.errors import suggest
from rlaif_core.files import replace_folder, writing
from rlaif_rewards.fit.config import FitConfig
from rlaif_rewards.fit.data import READERS, Labelled, Preferences
from rlaif_rewards.fit.estimate import Estimate, estimate
from rlaif_rewards.fit.evaluate import Said, baseline, by_length, judged, measured, said_of_pairs
from rlaif_rewards.fit.odin import correlation, lengths
from rlaif_rewards.fit.plot import reliability_plot
from rlaif_rewards.fit.split import Split, contradictions, split
from rlaif_rewards.fit.train import Trainee, train
from rlaif_rewards.scorer import FITTED, FORMAT, load_scorer

REPORT, CALIBRATION, PLOT = "report.json", "calibration.json", "reliability.svg"
Examples = Labelled | Preferences


@dataclass(frozen=True, slots=True)
class Fitted:
    """What `fit` left behind, and the report that it wrote there."""

    folder: Path
    report: dict[str, Any]


def fit(config: FitConfig, tell: Callable[[str], None] = lambda _: None) -> Fitted:
    """Fit what the config describes and write it to `[fit] out`; `tell` hears how it goes."""
    expanded = config.expanded()
    out = _free(Path(expanded.fit.out))
    examples = READERS[expanded.fit.target](expanded.data)
    positive = positive_of(expanded, examples)
    parts = split(examples, expanded.data.held_out, expanded.fit.seed)
    learnt, held = examples.take(parts.learnt), examples.take(parts.held)
    _check(learnt, held)
    tell(f"{len(learnt)} rows to learn from, {len(held)} held out")
    aside = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    with writing(aside):
        aside.mkdir(parents=True)
    try:
        found = _model(expanded, learnt, aside, tell)
        facts = found.facts
        scorer = load_scorer(str(aside), batch=expanded.fit.batch, device=expanded.fit.device)
        said = judged(scorer, held, positive)
        compared: dict[str, Said] = {expanded.fit.kind: said}
        if expanded.fit.odin and isinstance(held, Preferences):
            compared["without ODIN"], facts["length_correlation"] = _without_odin(expanded, learnt, held, found, tell)
        compared["TF-IDF baseline"] = baseline(learnt, held, positive)
        if isinstance(learnt, Preferences) and isinstance(held, Preferences):
            compared["length alone"] = by_length(learnt, held)
        report = {
            **_counts(expanded, examples, parts, positive),
            "rows": {name: measured(its) for name, its in compared.items()},
            "fitting": facts,
        }
        own = report["rows"][expanded.fit.kind]
        calibration = {"temperature": facts["temperature"]}
        calibration |= {name: own[name] for name in ("ece", "brier", "log_loss", "reliability")}
        with writing(aside):
            _write(aside / REPORT, report)
            _write(aside / CALIBRATION, calibration)
            title = f"{expanded.fit.kind} on {len(held)} rows held out"
            (aside / PLOT).write_text(reliability_plot(own["reliability"], title), encoding="utf-8")
            (aside / "config.toml").write_text(tomli_w.dumps(config.tables()), encoding="utf-8")
        replace_folder(aside, out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Fitted(out, report)


def positive_of(config: FitConfig, examples: Examples) -> int:
    """The place of the label that figures are about, where there are two."""
    if isinstance(examples, Preferences) or config.fit.positive is None:
        return 1
    if config.fit.positive not in examples.labels or len(examples.labels) != 2:
        known = ", ".join(examples.labels)
        hint = suggest(config.fit.positive, examples.labels)
        raise ConfigError(f"[fit] positive = {config.fit.positive!r} is not one of two labels{hint}. Labels: {known}")
    return examples.labels.index(config.fit.positive)


def _fitted(config: FitConfig, learnt: Examples, tell: Callable[[str], None]) -> Estimate | Trainee:
    return train(config, learnt, tell) if config.fit.kind == "transformer" else estimate(config, learnt)


def _model(config: FitConfig, learnt: Examples, folder: Path, tell: Callable[[str], None]) -> Estimate | Trainee:
    """Fit, and write the model and its `fit.json`."""
    found = _fitted(config, learnt, tell)
    told = {"format": FORMAT, "kind": config.fit.kind, "target": config.fit.target, "framing": config.framing}
    with writing(folder):
        _write(folder / FITTED, {**told, **found.save(folder)})
    return found


def _without_odin(
    config: FitConfig, learnt: Examples, held: Preferences, found: Estimate | Trainee, tell: Callable[[str], None]
) -> tuple[Said, dict[str, Any]]:
    """What the same fit without a length head says of pairs held out, and how all heads correlate with length there:
    before is without it, after are the head that is kept and the one that is not."""
    tell("the same without ODIN, to compare")
    plain = _fitted(config.model_copy(update={"fit": config.fit.model_copy(update={"odin": False})}), learnt, tell)
    shown = (*held.chosen, *held.rejected)
    before, after, long = plain.heads(shown)[:, 0], found.heads(shown), torch.from_numpy(lengths(shown))
    said = {"before": before, "after": after[:, 0], "length_head": after[:, 1]}
    count = len(held)
    return said_of_pairs(before[:count] - before[count:], held), {
        name: float(correlation(torch.from_numpy(its), long)) for name, its in said.items()
    }


def _counts(config: FitConfig, examples: Examples, parts: Split, positive: int) -> dict[str, Any]:
    clashes, example = contradictions(examples)
    counts: dict[str, Any] = {
        "target": config.fit.target,
        "kind": config.fit.kind,
        "seed": config.fit.seed,
        "learnt": len(parts.learnt),
        "held_out": len(parts.held),
        "groups": len(set(examples.groups)),
        "left_out_because_held_out_too": len(parts.leaked),
        "contradicting_rows": clashes,
        "a_contradicting_text": example,
    }
    if isinstance(examples, Labelled):
        shares = examples.targets.mean(0).tolist()
        counts["labels"] = dict(zip(examples.labels, shares, strict=True))
        counts["positive"] = examples.labels[positive] if len(examples.labels) == 2 else None
    return counts


def _check(learnt: Examples, held: Examples) -> None:
    if isinstance(learnt, Labelled) and isinstance(held, Labelled):
        for name, part in (("to learn from", learnt), ("held out", held)):
            there = {part.labels[label] for label in part.targets.argmax(1)}
            if len(there) < 2:
                raise DataError(
                    f"the {len(part)} rows {name} are all {next(iter(there))!r}; give more rows, another [fit] seed, "
                    "or a [data] group with smaller groups"
                )


def _free(out: Path) -> Path:
    if out.exists() and not (out / FITTED).is_file():
        raise ConfigError(f"[fit] out = {str(out)!r} is there and holds no fitted model; name another folder")
    return out


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
