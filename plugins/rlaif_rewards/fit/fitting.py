"""From a config to a folder: read, split, fit, measure beside a baseline, and write what was found.

The folder is whole or absent. Beside the model it holds `fit.json` (how to read it), `report.json` (what it is worth),
`calibration.json` and `reliability.svg` (what its probabilities are worth), and `config.toml`.
Members of an ensemble are folders in it, each with a `fit.json` of its own.
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
from rlaif_rewards.fit.estimate import Estimate
from rlaif_rewards.fit.evaluate import Said, baseline, by_length, measured, said_of_pairs
from rlaif_rewards.fit.members import members, together
from rlaif_rewards.fit.odin import correlation, lengths
from rlaif_rewards.fit.plot import reliability_plot
from rlaif_rewards.fit.split import Split, contradictions, split
from rlaif_rewards.fit.train import Trainee
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
        found = _models(expanded, learnt, aside, tell)
        scorers = [
            load_scorer(str(aside / name), batch=expanded.fit.batch, device=expanded.fit.device) for name in found
        ]
        each, said, apart = together(scorers, held, positive)
        compared: dict[str, Said] = {expanded.fit.kind: said, **(dict(zip(found, each, strict=True)) if apart else {})}
        facts: dict[str, Any] = {"fitting": next(iter(found.values())).facts}
        if apart:
            facts = {"fitting": {name: its.facts for name, its in found.items()}, "members": {**apart, "of": [*found]}}
        if expanded.fit.odin and isinstance(held, Preferences):
            first = next(iter(found.values()))
            compared["without ODIN"], facts["length_correlation"] = _without_odin(expanded, learnt, held, first, tell)
        compared["TF-IDF baseline"] = baseline(learnt, held, positive)
        if isinstance(learnt, Preferences) and isinstance(held, Preferences):
            compared["length alone"] = by_length(learnt, held)
        report = {
            **_counts(expanded, examples, parts, positive),
            "rows": {name: measured(its) for name, its in compared.items()},
            **facts,
        }
        own = report["rows"][expanded.fit.kind]
        temperatures = [its.facts["temperature"] for its in found.values()]
        calibration = {"temperature": temperatures if apart else temperatures[0]}
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


def _models(
    config: FitConfig, learnt: Examples, folder: Path, tell: Callable[[str], None]
) -> dict[str, Estimate | Trainee]:
    """Fit, and write every model with its `fit.json`; by the names of their folders, "" where there is one alone."""
    told = {"format": FORMAT, "kind": config.fit.kind, "target": config.fit.target, "framing": config.framing}
    found: dict[str, Estimate | Trainee] = {}
    for number, its in enumerate(members(config, learnt, tell)):
        name = f"member-{number}" if config.fit.members > 1 else ""
        with writing(folder):
            (folder / name).mkdir(exist_ok=True)
            _write(folder / name / FITTED, {**told, **its.save(folder / name)})
        found[name] = its
    if len(found) > 1:
        _write(folder / FITTED, {**told, "members": [*found]})
    return found


def _without_odin(
    config: FitConfig, learnt: Examples, held: Preferences, found: Estimate | Trainee, tell: Callable[[str], None]
) -> tuple[Said, dict[str, float]]:
    """What the same fit without a length head says of pairs held out, and how all heads correlate with length there:
    before is without it, after are the head that is kept and the one that is not."""
    tell("the same without ODIN, to compare")
    alone = config.model_copy(update={"fit": config.fit.model_copy(update={"odin": False, "members": 1})})
    plain = next(members(alone, learnt, tell))
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
