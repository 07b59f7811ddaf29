"""Five real judges on LLMBar, from what they wrote: how right, how biased, how much is gained by asking them well.

Each judge's recorded answers to a pair, one for each order in which the outputs were shown, are replayed through the
machinery that a live judge goes through: forms, both orders, tally, ensembles. A recorded text is read strictly: it is
a verdict if it, its first or its last sentence says that one output is better and they do not say the opposite; what is
not read so has failed and is counted.

    python benches/bench_llmbar.py [--save]        # needs the folder that RLAIF_REAL_DATA names
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from rlaif_core import Failed, Judge, Prompt, Question, Verdict
from rlaif_core.agreement import Interval, bootstrap, krippendorff_alpha, pairwise_accuracy
from rlaif_judges.asking import Backend, Reply, Request, Straight
from rlaif_judges.ensemble import Ensemble
from rlaif_judges.exam.measure import Examined, examined, margins_of
from rlaif_judges.forms import ballots
from rlaif_judges.hygiene import Hygiene
from rlaif_judges.language import LanguageJudge

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("RLAIF_REAL_DATA", HERE.parent.parent / "shared")) / "data"
PAGE = HERE / "results" / "judges-llmbar.md"
LABELS = {"a": 0, "b": 1}
_BARE = re.compile(r"output \(?([ab])\)?\.?", re.IGNORECASE)
_BETTER = re.compile(
    r"(?:(?:therefore|thus|so|hence|overall|in conclusion|based on [^,]*), ?)*"
    r"(?:i (?:would|think|believe)[^.]*? )?output \(([ab])\) is (?:the |a )?(?:clearly |slightly |much )?better\b.*",
    re.IGNORECASE | re.DOTALL,
)


def stated(text: str) -> int | None:
    """0 or 1 for the output, (a) or (b), that the text calls the better one; None where it does not say so clearly."""
    if bare := _BARE.fullmatch(text.strip()):
        return LABELS[bare[1].lower()]
    sentences = [part for part in re.split(r"(?<=[.!?])\s+|\n+", text.strip()) if part]
    found = {LABELS[its[1].lower()] for part in (sentences[:1] + sentences[-1:]) if (its := _BETTER.match(part))}
    return found.pop() if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair of outputs as a question, and by how much the first is the better one."""

    question: Question
    truth: float


class Replayed(Backend):
    """One judge's recorded texts in the place of a model."""

    def __init__(self, texts: Mapping[tuple[int, bool], str], pairs: Mapping[int, Pair]) -> None:
        self._texts: dict[Any, str] = {}
        for item, pair in pairs.items():
            for ballot in ballots(pair.question, Hygiene().style):
                self._texts[ballot.messages] = texts[item, ballot.order == 1]
        self.unread = sum(stated(text) is None for text in self._texts.values())
        self.read = len(self._texts)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"backend": "replayed"}

    def answer(self, requests: Iterable[tuple[int, Request]]) -> Iterator[tuple[int, Reply | Failed]]:
        for number, request in requests:
            text = self._texts[request.messages]
            choice = stated(text)
            if choice is None:
                yield number, Failed("it does not say which output is better")
            else:
                yield number, Reply(text=text, probabilities=(float(choice == 0), float(choice == 1)))


def load() -> tuple[dict[int, Pair], dict[str, dict[tuple[int, bool], str]], float]:
    """(pairs, texts of each judge and strategy, how often the strict reading agrees with the source's own)."""
    pairs = {
        row["item"]: Pair(
            Question(
                prompt=Prompt(id=str(row["item"]), text=row["input"]),
                answers=(row["output_1"], row["output_2"]),
                form="compare",
            ),
            1.0 if row["label"] == 1 else -1.0,
        )
        for row in _rows("pref_llmbar.jsonl")
    }
    texts: dict[str, dict[tuple[int, bool], str]] = defaultdict(dict)
    same = read = 0
    for row in _rows("judge_llmbar.jsonl"):
        texts[f"{row['judge']} {row['strategy']}"][row["item"], row["swap"]] = row["completion"]
        if (said := stated(row["completion"])) is not None:
            read += 1
            same += row["winner"] == 1 + (said ^ row["swap"])
    judged = {item for item, _ in next(iter(texts.values()))}
    return {item: pair for item, pair in pairs.items() if item in judged}, dict(texts), same / read


def _rows(name: str) -> Iterator[dict[str, Any]]:
    with (DATA / name).open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


@dataclass(frozen=True, slots=True)
class Figures:
    """What asking in both orders, and several judges, is worth."""

    judges: tuple[Examined, ...]
    consistent: Mapping[str, tuple[Interval, float]]
    ensembles: Mapping[str, tuple[Interval, float]]
    unread: Mapping[str, float]
    alpha: float | None
    same: float


def measure() -> Figures:
    """Everything, deterministic."""
    pairs, texts, same = load()
    questions, truth = [pair.question for pair in pairs.values()], [pair.truth for pair in pairs.values()]
    answers = [(question.answers[0], question.answers[1]) for question in questions]
    backends = {name: Replayed(its, pairs) for name, its in texts.items()}

    def judge(name: str, **hygiene: Any) -> Judge:
        return LanguageJudge(Straight(backends[name]), Hygiene(**hygiene))

    def right(verdicts: Sequence[Verdict]) -> tuple[Interval, float]:
        margins = margins_of(verdicts)
        heard = sum(margin is not None for margin in margins) / len(margins)
        return bootstrap(lambda m, t: pairwise_accuracy(m, t, ties="half"), margins, truth), heard

    results = {name: examined(name, judge(name).ask(questions), truth, answers) for name in texts}
    strong = [name for name in texts if name.endswith("Vanilla")]
    members = {
        "all ten": list(texts),
        "the five, Vanilla": strong,
        "the five, CoT": [name for name in texts if name.endswith("CoT")],
        "GPT-4 and ChatGPT, both": [name for name in texts if name.startswith(("GPT-4", "ChatGPT"))],
    }
    panels = {}
    for name, names in members.items():
        panels[name] = right(Ensemble([judge(its) for its in names], quorum=1).ask(questions))
    agreeing = [judge(its, flips="abstain") for its in texts]
    panels["all ten, each only where its orders agree"] = right(Ensemble(agreeing, quorum=1).ask(questions))
    signs = [
        [None if margin is None else (margin > 0) - (margin < 0) for margin in margins_of(judge(name).ask(questions))]
        for name in strong
    ]
    return Figures(
        judges=tuple(results.values()),
        consistent={name: right(judge(name, flips="abstain").ask(questions)) for name in texts},
        ensembles=panels,
        unread={name: backend.unread / backend.read for name, backend in backends.items()},
        alpha=krippendorff_alpha(list(zip(*signs, strict=True))),
        same=same,
    )


def page(figures: Figures) -> str:
    """The figures as Markdown."""
    lines = [
        "# Five judges on LLMBar, asked in both orders",
        "",
        "What GPT-4, ChatGPT, LLaMA2, PaLM2 and Falcon wrote about the same pairs (LLMBar, Zeng et al. 2023), "
        "replayed through forms, tally and ensembles by `python benches/bench_llmbar.py`. Accuracy with 95 % bootstrap "
        "intervals; ties count half. A single read is one order; with hard votes the average of both orders cannot be "
        "righter than a single read on average, but it says where it does not know: there the orders name different "
        "outputs. Of what is said where they agree, more is right.",
        "",
        "| judge | unread | single read | where both orders agree | of the pairs | to the first | kappa with gold |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for its in figures.judges:
        (agree, heard), single = figures.consistent[its.judge], its.single
        lines.append(
            f"| {its.judge} | {figures.unread[its.judge]:.1%} | {_interval(single)} | {_interval(agree)} | {heard:.0%} "
            f"| {its.position_bias or 0:+.2f} | {its.kappa or 0:.2f} |"
        )
    lines += ["", "| ensemble (mean) | accuracy | of the pairs |", "|---|--:|--:|"]
    lines += [f"| {name} | {_interval(right)} | {heard:.0%} |" for name, (right, heard) in figures.ensembles.items()]
    lines += [
        "",
        f"Krippendorff's alpha of the five (Vanilla): {figures.alpha or 0:.2f}. In LLMBar's adversarial subsets the "
        "worse output looks better, which is why two judges are below chance, the more so the more consistent they "
        "are, and why they pull a plain mean down: `fusion.md` has what weights learnt from a few trusted pairs make "
        f"of them. The strict reading agrees with the data set's own on {figures.same:.2%} of what it reads; the rest "
        'are texts that say "Output (b) is better." and were taken for (a), or the other way round.',
        "",
    ]
    return "\n".join(lines)


def _interval(its: Interval | None) -> str:
    if its is None or its.value is None or its.low is None or its.high is None:
        return "-"
    return f"{its.value:.1%} ({its.low:.0%} to {its.high:.0%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true", help=f"write {PAGE.relative_to(HERE.parent)}")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"no data at {DATA}; set RLAIF_REAL_DATA to a folder with data/")
    text = page(measure())
    Console().print(text, markup=False, soft_wrap=True)
    if arguments.save:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
