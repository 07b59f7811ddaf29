"""What labelling costs besides the judge: pairs labelled by one that answers at once, then again from what is kept.

"first" asks a function, "journal" is the same call once more, which has nothing left to ask and writes the datasets
again, "model" asks a language model whose calls take a tenth of a second, 16 at a time, and "cache" labels into another
folder by that model once more, whose replies are all in its cache. Memory is that of the process at its largest, less
what it took before there were rows.

    python benches/bench_label.py [--rows 10000] [--call 0.1] [--save]
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import device

import rlaif_core as rl
from rlaif_core import Failed
from rlaif_core.plugins import Origin, Plugins
from rlaif_judges.asking import Reply, Request
from rlaif_judges.economy.budget import Economy
from rlaif_judges.economy.desk import Desk
from rlaif_judges.hygiene import Hygiene
from rlaif_judges.label import labelling
from rlaif_judges.label.config import LabelConfig
from rlaif_judges.language import LanguageJudge

LETTERS = 600
"""Characters of an answer."""
CONCURRENCY = 16
"""Calls under way at a time, as judges have it where nobody says otherwise."""


class Longer:
    """Prefers the longer answer, at once."""

    def ask(self, questions: Sequence[rl.Question]) -> list[rl.Verdict]:
        lengths = ([len(answer) for answer in question.answers] for question in questions)
        return [rl.Verdict(outcomes=tuple(rl.Score(1.0 if n == max(its) else -1.0) for n in its)) for its in lengths]


class Model:
    """Prefers A as its text decides; `CONCURRENCY` calls are under way at a time, each for `seconds`."""

    identity: Mapping[str, Any] = {"model": "a model"}

    def __init__(self, seconds: float) -> None:
        self.seconds, self.calls = seconds, 0

    def answer(self, requests: Iterable[tuple[int, Request]]) -> Iterator[tuple[int, Reply | Failed]]:
        for number, request in requests:
            self.calls += 1
            time.sleep(self.seconds / CONCURRENCY)
            probable = 0.25 + len(request.messages[-1].content) % 7 / 14
            yield number, Reply(text="A", probabilities=(probable, 1 - probable))


class Given:
    """A plugin that offers one judge."""

    def __init__(self, judge: Any) -> None:
        self._judge = judge

    @rl.hookimpl
    def rlaif_judges(self) -> list[rl.Offer[Any]]:
        return [rl.Offer("given", lambda: self._judge)]


def labelled(judge: Any, folder: Path, out: str) -> float:
    """Seconds of one labelling."""
    plugins = Plugins.load()
    plugins.add(Given(judge), Origin("given", "bench", "0"))
    config = LabelConfig.of(
        {
            "prompts": {"files": str(folder / "rows.jsonl")},
            "judges": {"main": {"use": "given"}},
            "label": {"what": ["preferences"], "out": str(folder / out)},
        }
    )
    start = time.perf_counter()
    report = labelling.label(config, plugins)
    seconds = time.perf_counter() - start
    (entry,) = report["labels"]
    assert entry["labelled"] == report["prompts"], entry
    return seconds


def written(folder: Path, rows: int) -> None:
    """Pairs of answers of different lengths."""
    with (folder / "rows.jsonl").open("w") as file:
        for number in range(rows):
            row = {"prompt": f"question {number}?", "chosen": f"{number} " + "a" * LETTERS, "rejected": "b" * LETTERS}
            file.write(json.dumps(row) + "\n")


def memory() -> float:
    """MiB that the process took at its largest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--call", type=float, default=0.1, help="seconds that a call of the model takes")
    parser.add_argument("--save", action="store_true", help="keep the figures in results/<device>.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        written(folder, 8)
        labelled(Longer(), folder, "warm")  # imports
        written(folder, options.rows)
        before = memory()
        backend = Model(options.call)
        economy = Economy(cache=str(folder / "cache.sqlite"))

        def model() -> LanguageJudge:
            return LanguageJudge(Desk(backend, judge="main", economy=economy), Hygiene())

        steps: dict[str, Callable[[], float]] = {
            "first": lambda: labelled(Longer(), folder, "function"),
            "journal": lambda: labelled(Longer(), folder, "function"),
            "model": lambda: labelled(model(), folder, "model"),
            "cache": lambda: labelled(model(), folder, "again"),
        }
        figures: dict[str, Any] = {"rows": options.rows, "call": options.call}
        for name, step in steps.items():
            figures[name] = seconds = step()
            taken = memory() - before
            print(f"{name:8} {seconds:6.2f} s  {options.rows / seconds:8,.0f} rows/s  {taken:6.0f} MiB", flush=True)
            figures.setdefault("mebibytes", taken)
        assert backend.calls == 2 * options.rows, "each pair is asked about in both orders, and once"
        print(f"the second labelling is {figures['model'] / figures['cache']:.0f}x as fast")
    if options.save:
        print("saved:", device.save("label", figures))


if __name__ == "__main__":
    main()
