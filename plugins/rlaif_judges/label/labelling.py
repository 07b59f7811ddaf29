"""A whole labelling, from its config to the folder that it leaves behind."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlaif_core import Plugins
from rlaif_core.files import claimed, write_bytes
from rlaif_core.prompts import Prompts, load_prompts
from rlaif_judges.label import folder as folders
from rlaif_judges.label.answers import Answers, Drawn, Recorded, reference
from rlaif_judges.label.chains import Chains
from rlaif_judges.label.config import LabelConfig
from rlaif_judges.label.gold import gold_of
from rlaif_judges.label.journal import Journal
from rlaif_judges.label.parts import built, check_able, chosen
from rlaif_judges.label.progress import Progress
from rlaif_judges.label.questions import Questions
from rlaif_judges.label.results import Results
from rlaif_judges.label.rows import Row, Rows
from rlaif_judges.label.saving import save
from rlaif_judges.label.standards import Standards
from rlaif_judges.label.summary import Pairs
from rlaif_judges.label.work import Work


def label(given: LabelConfig, plugins: Plugins, *, anew: bool = False, again: str = "rlaif label") -> dict[str, Any]:
    """Ask what the folder of `given` lacks, write the datasets, and return the report that lies beside them.

    With `anew` what is there is set aside first. `again` is the command that goes on, for those who are told of it.
    """
    config = given.expanded()
    names, standards = chosen(config, plugins), Standards(config.label)
    prompts = Prompts(load_prompts(config.prompts), seed=0, shuffle=False)
    rows, folder = prompts.prompts, Path(config.label.out)
    recorded = None if config.answers.samples else Recorded(config.answers, rows)
    for prompt in rows:
        reference(prompt, config.answers.reference)
    folders.made(folder)
    with claimed(folder):
        its = folders.identity(given, prompts.fingerprint, standards.fingerprint)
        folders.opened(folder, given, its, anew=anew, again=again)
        with Journal(folder) as journal:
            answers: Answers = recorded or Drawn(config.answers, journal)
            questions = Questions(config, answers, standards)
            chains = Chains(config.label, answers, standards, journal)
            pairs = Pairs(answers, gold_of(config.gold, answers, rows))
            try:
                every, policy = built(config, plugins)
                judges = {name: every[name] for name in names}
                check_able(config, judges, max(answers.count(prompt) for prompt in rows))
                folders.accounts(folder, every)
                with Progress() as progress, _stopping(again) as check:
                    work = Work(
                        config=config,
                        prompts=rows,
                        judges=judges,
                        policy=policy,
                        journal=journal,
                        questions=questions,
                        chains=chains,
                        progress=progress,
                        check=check,
                    )
                    work.draw()
                    work.judge()
                    work.write()
            except Exception as error:
                error.add_note(f"  what was said before is kept in {folder}; go on with: {again}")
                raise
            return _written(folder, config, Parts(names, rows, questions, chains, journal, pairs))


@dataclass(frozen=True, slots=True)
class Parts:
    """What the datasets are made of."""

    judges: Sequence[str]
    prompts: Sequence[Any]
    questions: Questions
    chains: Chains
    journal: Journal
    pairs: Pairs


def _written(folder: Path, config: LabelConfig, its: Parts) -> dict[str, Any]:
    """The datasets and what is said about them, once everything was asked."""
    results = Results(its.journal, its.questions, config.label)
    lost: dict[str, list[Row]] = {"failed": [], "abstained": []}
    rows = Rows(
        label=config.label,
        judges=its.judges,
        prompts=its.prompts,
        questions=its.questions,
        chains=its.chains,
        results=results,
        lost=lambda row: lost[row.pop("state")].append(row),
        pair=its.pairs.add,
    )
    counts = {what: save(*rows.of(what), folder / what) for what in config.label.what}
    for name, state in ((folders.FAILURES, "failed"), (folders.ABSTENTIONS, "abstained")):
        write_bytes(folder / name, b"".join(json.dumps(row).encode() + b"\n" for row in lost[state]))
    report = {
        "folder": str(folder),
        "prompts": len(its.prompts),
        "rows": counts,
        "labels": [
            {"what": what, "judge": judge, **count.told(), **its.pairs.told(what, judge)}
            for (what, judge), count in results.counts.items()
        ],
        "agreement": [{"what": what, **pair} for what in config.label.what for pair in its.pairs.between(what)],
        "reasons": {state: Counter(row["reason"] for row in found).most_common(10) for state, found in lost.items()},
    }
    write_bytes(folder / folders.REPORT, json.dumps(report, indent=1).encode())
    return report


@contextmanager
def _stopping(again: str) -> Iterator[Any]:
    """The first Ctrl-C (or SIGTERM) lets what is under way be answered and kept; the second stops at once."""
    asked: list[str] = []

    def check() -> None:
        if asked:
            raise KeyboardInterrupt(f"stopped by {asked[0]}; what was said is kept; go on with: {again}")

    def ask(number: int, _: object) -> None:
        if asked:
            raise KeyboardInterrupt(f"stopped at once; go on with: {again}")
        asked.append(signal.Signals(number).name)
        sys.stderr.write(f"\n{asked[0]}: stopping once what is under way is kept; once more stops at once\n")

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield check
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
