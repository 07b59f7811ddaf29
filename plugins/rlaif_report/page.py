"""A run as one page: what improved, at what price, and who said what about which answer.

Only the run folder is read. The page is a single file without a link to anywhere: it opens from a disk, a mail or an
archive, with its curves visible even where scripts are off, and executes no script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import math
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlaif_core.files import write_bytes
from rlaif_core.progress import duration
from rlaif_core.record import read_metrics
from rlaif_report.answers import Answers, ledger, visible
from rlaif_report.charts import Chart, curve, number, score, signed, span, trajectory

TEMPLATES = Path(__file__).parent / "templates"
MAIN = ("reward", "kl")  # the metrics with a large curve
ORDER = (
    "canary/",
    "length",
    "entropy",
    "reward/",
    "cost/",
    "failed",
    "abstained",
    "truncated",
)  # the first of the small ones
PLACES = ("seconds", "tokens_per_second")  # about the machine rather than the policy: the last

Steps = Sequence[Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Headline:
    """One number at the top of the page; `before` stands in front of an arrow."""

    label: str
    value: str
    note: str = ""
    before: str = ""


def write_report(folder: Path) -> Path:
    """Write `folder`/report.html from what the run recorded so far, and return its path.

    Raises DataError when a recorded file is damaged and RlaifError when the page cannot be written.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":"), "allow_nan": False}
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    page = environment.get_template("report.html.j2").render(
        **contents(folder),
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    path = folder / "report.html"
    write_bytes(path, page.encode())
    return path


def contents(folder: Path) -> dict[str, Any]:
    """Everything that the template shows."""
    steps = read_metrics(folder)
    config, config_text = _toml(folder / "config.toml")
    lock, lock_text = _toml(folder / "plugins.lock.toml")
    answers = Answers(folder)
    best, worst = answers.extremes()
    outcomes = ledger(answers)
    shown, total = len(outcomes["answers"]), len(answers)
    return {
        "name": visible(folder.resolve().name),
        "summary": summary(config),
        "stopped": stopped(folder, steps, config),
        "steps": len(steps),
        "headlines": headlines(steps, answers, config),
        "span": span(len(steps)),
        **charts(steps),
        "pairs": answers.pairs(),
        "best": best,
        "worst": worst,
        "outcomes": outcomes,
        "sampled": f"{shown:,} of {total:,} answers, sampled evenly over the steps; rollouts/ holds the others"
        if shown < total
        else f"all {total:,} answers",
        "total": total,
        "config": visible(config_text, 50_000),
        "origins": _origins(lock),
        "lock": visible(lock_text, 50_000),
    }


def summary(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was trained, how and on whose word, in a few words each."""
    policy, optimiser, credit = (_table(config, name) for name in ("policy", "optimiser", "credit"))
    sources = [table for table in config.get("rewards", []) if isinstance(table, Mapping)]
    said = [_weighted(table) for table in sources]
    parts = [
        ("Policy", str(policy.get("model") or policy.get("use") or "")),
        ("Optimiser", str(optimiser.get("use", ""))),
        ("Credit", str(credit.get("use", ""))),
        ("Feedback", ", ".join(said)),
    ]
    return [(label, visible(text, 300)) for label, text in parts if text]


def stopped(folder: Path, steps: Steps, config: Mapping[str, Any]) -> str:
    """What to say of a run that has not reached its last step; empty for one that has."""
    wanted = _table(config, "run").get("steps")
    done = int(steps[-1]["step"]) if steps else 0
    if not isinstance(wanted, int) or done >= wanted:
        return ""
    saved = [int(place.name[5:]) for place in folder.glob("checkpoints/step-*") if place.name[5:].isdigit()]
    way = (
        f"To go on from step {max(saved)}: rlaif resume {shlex.quote(str(folder))}"
        if saved
        else "It left no checkpoint."
    )
    return f"Stopped after step {done:,} of {wanted:,}, or still running. {way}"


def headlines(steps: Steps, answers: Answers, config: Mapping[str, Any]) -> list[Headline]:
    """The numbers at the top of the page."""
    if not steps:
        return []
    few = max(1, min(10, len(steps) // 5))
    found = []
    if reward := _series(steps, "reward"):
        first, last = _mean(reward[:few]), _mean(reward[-few:])
        note = (
            f"{signed(last - first)}, first to last {few} steps"
            if few > 1
            else f"{signed(last - first)}, first to last"
        )
        several = len(reward) > 1
        found.append(Headline("Reward", score(last), note if several else "", score(first) if several else ""))
    if kl := _series(steps, "kl"):
        found.append(Headline("KL", number(_mean(kl[-few:])), "nats from the start"))
    wanted = _table(config, "run").get("steps")
    found.append(Headline("Steps", f"{int(steps[-1]['step']):,}", f"of {wanted:,}" if isinstance(wanted, int) else ""))
    if answers:
        found.append(Headline("Tokens", _count(answers.tokens), f"in {len(answers):,} answers"))
    if seconds := _series(steps, "seconds"):
        each = _mean(seconds)
        found.append(Headline("Time", duration(sum(v for _, v in seconds)), f"{number(each)} s a step"))
    for name, note in (("failed", "of judgements"), ("abstained", "of judgements")):
        if share := _series(steps, name):
            found.append(Headline(name.capitalize(), f"{100 * _mean(share):.1f} %", note))
    return found


def charts(steps: Steps) -> dict[str, Any]:
    """The large curves, reward (and what a canary says) against the square root of KL, the small ones, and what never
    changed."""
    names = dict.fromkeys(name for line in steps for name in line if name != "step")
    series = {name: _series(steps, name) for name in names}
    moving = {name: its for name, its in series.items() if len({value for _, value in its}) > 1}
    small = sorted((name for name in moving if name not in MAIN), key=_place)
    return {
        "large": [curve("KL" if name == "kl" else "Reward", moving[name]) for name in MAIN if name in moving],
        "frontier": _frontier("Reward against √KL", "reward", steps, moving),
        "canary": _frontier("Canary against √KL", "canary/gold", steps, moving),
        "small": [curve(visible(name, 60), moving[name]) for name in small],
        "constant": [
            (visible(name, 60), number(its[-1][1])) for name, its in series.items() if its and name not in moving
        ],
    }


def _frontier(title: str, name: str, steps: Steps, moving: Mapping[str, Any]) -> Chart | None:
    """A metric against the square root of KL, where both were measured and moved."""
    both = [line for line in steps if {name, "kl"} <= line.keys()]
    if len(both) < 2 or not {name, "kl"} <= moving.keys():
        return None
    roots = [math.sqrt(max(line["kl"], 0.0)) for line in both]
    return trajectory(title, roots, [line[name] for line in both], [line["step"] for line in both])


def _count(whole: int) -> str:
    return f"{whole:,}" if whole < 1_000_000 else number(whole)


def _place(name: str) -> tuple[int, str]:
    if name in PLACES:
        return len(ORDER) + 1, name
    return next((rank for rank, first in enumerate(ORDER) if name.startswith(first)), len(ORDER)), name


def _series(steps: Steps, name: str) -> list[tuple[float, float]]:
    return [(line["step"], line[name]) for line in steps if _finite(line.get(name))]


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _mean(series: Sequence[tuple[float, float]]) -> float:
    return sum(value for _, value in series) / len(series)


def _table(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = config.get(name)
    return table if isinstance(table, Mapping) else {}


def _weighted(table: Mapping[str, Any]) -> str:
    name, weight = str(table.get("name") or table.get("use", "")), table.get("weight", 1.0)
    return name if weight == 1.0 or not _finite(weight) else f"{weight:g} × {name}"


def _toml(path: Path) -> tuple[Mapping[str, Any], str]:
    """A file's tables and its text; no tables where it is missing or damaged, for a report is still worth having."""
    if not path.is_file():
        return {}, ""
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        return tomllib.loads(text), text
    except tomllib.TOMLDecodeError:
        return {}, text


def _origins(lock: Mapping[str, Any]) -> list[tuple[str, str]]:
    offers = lock.get("offers", [])
    if not isinstance(offers, list):
        return []
    return [
        (visible(str(it.get("part", ""))), visible(str(it.get("origin", ""))))
        for it in offers
        if isinstance(it, Mapping)
    ]
