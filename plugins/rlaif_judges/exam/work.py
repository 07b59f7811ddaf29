"""An examination: the pairs read, every judge asked about each, and what came of it written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlaif_core import ConfigError, DataError, Judge, Plugins, Prompt, Question, Verdict
from rlaif_core.errors import blame, suggest
from rlaif_core.files import write_bytes
from rlaif_core.prompts import load_prompts
from rlaif_core.references import build_judges
from rlaif_core.rubric import load_rubric
from rlaif_core.verdicts import verdicts_of
from rlaif_judges.exam.config import ExamConfig, ExamTable
from rlaif_judges.exam.measure import Calibrated, Examined, Margins, agreement, calibrated, examined, margins_of
from rlaif_judges.label.answers import Recorded, column
from rlaif_judges.label.gold import gold_of


@dataclass(frozen=True, slots=True)
class Result:
    """What an examination found. kappas: of every two judges; alpha: of all of them; calibrations: file -> what the
    calibration in it is worth."""

    folder: Path
    judges: tuple[Examined, ...]
    kappas: Mapping[tuple[str, str], float | None]
    alpha: float | None
    calibrations: Mapping[str, Calibrated] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Prompts with two answers each, and by how much the first is the better one."""

    prompts: tuple[Prompt, ...]
    answers: tuple[tuple[str, str], ...]
    truth: tuple[float | None, ...]


def exam(given: ExamConfig) -> Result:
    """Examine the judges of a config and write `report.json`, and a calibration of each where wanted, to its folder."""
    from rlaif_judges.exam.report import plain

    config, plugins = given.expanded(), Plugins.load()
    plugins.require(config.plugins.require)
    names = config.exam.judges or list(config.judges)
    for name in [*names, *config.exam.own]:
        if name not in config.judges:
            raise ConfigError(
                f"[exam] names judge {name!r}, but there is no [judges.{name}]{suggest(name, config.judges)}"
            )
    criteria = load_rubric(config.exam.rubric)
    if len(criteria) > 1:
        raise ConfigError(
            f"[exam] rubric {config.exam.rubric!r} has {len(criteria)} criteria; examine by one at a time"
        )
    pairs = _pairs(config)
    policy = plugins.build("policies", config.policy.use, config.policy.options) if config.policy else None
    judges = build_judges(config.judges, plugins, policy)
    rubric = criteria[0].text if criteria else ""
    verdicts = {name: _asked(name, judges[name], pairs, rubric) for name in names}
    margins = {name: margins_of(its) for name, its in verdicts.items()}
    found = tuple(
        examined(name, its, pairs.truth, pairs.answers, _own(config.exam, name, pairs))
        for name, its in verdicts.items()
    )
    kappas, alpha = agreement(margins)
    folder = Path(config.exam.out)
    folder.mkdir(parents=True, exist_ok=True)
    result = Result(folder, found, kappas, alpha, _calibrations(config.exam, margins, pairs.truth, folder))
    write_bytes(folder / "report.json", plain(result).encode())
    return result


def _pairs(config: ExamConfig) -> Pairs:
    prompts = load_prompts(config.prompts)
    if config.answers.samples:
        raise ConfigError("[answers] samples: judges are examined on recorded answers; name their columns")
    answers = Recorded(config.answers, prompts)
    gold = gold_of(config.gold, answers, prompts)
    if gold is None:
        raise ConfigError("nothing says which answer is better; add a [gold] table, or name chosen and rejected")
    texts = []
    for prompt in prompts:
        its = answers.of(prompt)
        if len(its) != 2:
            raise DataError(f"prompt {prompt.id!r} has {len(its)} answers, but judges are examined on two")
        texts.append((its[0], its[1]))
    return Pairs(tuple(prompts), tuple(texts), tuple(gold(prompt, 0, 1) for prompt in prompts))


def _asked(name: str, judge: Judge, pairs: Pairs, rubric: str) -> Sequence[Verdict]:
    questions = [
        Question(prompt=prompt, answers=answers, form="compare", rubric=rubric)
        for prompt, answers in zip(pairs.prompts, pairs.answers, strict=True)
    ]
    with blame(f"judge {name!r}"):
        return verdicts_of(judge, questions)


def _own(table: ExamTable, name: str, pairs: Pairs) -> Margins:
    """Of each pair 1 where the first answer is the judge's own, -1 where the second is, 0 where neither or both."""
    if name not in table.own:
        return ()
    if not table.author:
        raise ConfigError("[exam] own says whose answers are whose; name the column with their authors by author")
    sides = []
    for prompt in pairs.prompts:
        one, other = (str(its) == table.own[name] for its in _authors(prompt, table.author))
        sides.append(float(one - other))
    return sides


def _authors(prompt: Prompt, author: str | list[str]) -> Sequence[Any]:
    found = [column(prompt, its) for its in ([author] if isinstance(author, str) else author)]
    both = found[0] if len(found) == 1 else found
    if isinstance(both, str) or not isinstance(both, Sequence) or len(both) != 2:
        raise DataError(
            f"prompt {prompt.id!r}: {author!r} must give the authors of both answers, but gives {both!r:.60}"
        )
    return both


def _calibrations(
    table: ExamTable, margins: Mapping[str, Margins], truth: Margins, folder: Path
) -> dict[str, Calibrated]:
    found = {}
    for name, its in margins.items() if table.calibrate else ():
        if (fitted := calibrated(its, truth, table.calibrate or "platt")) is None:
            raise DataError(f"judge {name!r} gave too few verdicts to calibrate it by; examine it on more pairs")
        file = f"calibration-{name}.json"
        write_bytes(folder / file, fitted.calibrator.to_json().encode())
        found[file] = fitted
    return found
