"""What the cache of judges' replies saves, and what it takes: hits, misses, and two processes at one list.

A miss is looked up, claimed, asked, and committed with its row of the ledger before the next reply is taken; the bare
backend does nothing of that. The backends here answer at once, or after a millisecond; real ones take a hundred times
as long. Each figure is the median of rounds that are taken in turn, each with a file of its own; where a processor is
named it is that of this process alone, which a busy machine changes least.

    python benches/bench_judge_cache.py [--rounds 5] [--save]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import device
from rich.console import Console

from rlaif_judges.asking import Message, Reply, Request
from rlaif_judges.economy.budget import Economy
from rlaif_judges.economy.desk import Desk

HITS, MISSES, SLOW = 10_000, 1_000, 500
HITS_LIMIT, SPEEDUP = 1.0, 20.0
"""Seconds in which all the hits are to be answered, and how much faster a second pass over slow calls is to be."""
REPLY = Reply(text="A " * 50, probabilities=(0.25, 0.75), tokens_in=300, tokens_out=1, cost=0.001, seconds=0.1)


class Backend:
    """Answers every request alike, `seconds` after it was asked."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.identity = {"model": "a model", "url": "http://127.0.0.1:8000/v1", "read": "logprobs"}
        self.seconds = seconds

    def answer(self, requests: Iterable[tuple[int, Request]]) -> Iterator[tuple[int, Reply]]:
        for number, _ in requests:
            if self.seconds:
                time.sleep(self.seconds)
            yield number, REPLY


def requests(count: int) -> list[Request]:
    """Of about the length of a rubric, a prompt and an answer."""
    rubric = Message(role="system", content="You compare two answers. Be fair, and say which one is better. " * 8)
    asked = (f"Question {number}: {'what is better, and why is it so? ' * 20}" for number in range(count))
    return [Request(messages=(rubric, Message(role="user", content=text)), options=("A", "B")) for text in asked]


def seconds(work: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    start = clock()
    work()
    return clock() - start


def desk(folder: Path, backend: Backend) -> Desk:
    return Desk(backend, judge="bench", economy=Economy(cache=str(folder / "judges.sqlite"), account="bench"))


def shared(folder: Path, processes: int) -> float:
    """Seconds until every one of some processes, which start together, has the replies to the same slow requests."""
    go = folder / "go"
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", str(folder)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    start = time.perf_counter()
    go.touch()
    if any(worker.wait() for worker in workers):
        raise RuntimeError("a worker failed; see above")
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.close()
    return time.perf_counter() - start


def work(folder: Path) -> None:
    this, asked = desk(folder, Backend(0.01)), requests(SLOW)
    print("ready", flush=True)
    while not (folder / "go").exists():
        time.sleep(0.001)
    this.answer(asked)


def one_round() -> dict[str, float]:
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as above:
        folders = [Path(above, name) for name in ("instant", "slow", "one", "two")]
        for folder in folders:
            folder.mkdir()
        asked, some = requests(HITS), requests(MISSES)
        figures["bare"] = seconds(lambda: [*Backend().answer(enumerate(some))]) / MISSES
        this = desk(folders[0], Backend())
        figures["miss"] = seconds(lambda: this.answer(some)) / MISSES
        figures["miss, processor"] = seconds(lambda: this.answer(asked), time.process_time) / (HITS - MISSES)
        this.close()
        fresh = desk(folders[0], Backend())
        figures["hits"] = seconds(lambda: fresh.answer(asked))
        figures["hits, processor"] = seconds(lambda: fresh.answer(asked), time.process_time)
        fresh.close()
        slow, some = desk(folders[1], Backend(0.001)), some[:SLOW]
        figures["first pass"] = seconds(lambda: slow.answer(some))
        figures["second pass"] = seconds(lambda: slow.answer(some))
        slow.close()
        figures["one process"] = shared(folders[2], 1)
        figures["two processes"] = shared(folders[3], 2)
    return figures


def medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(its[name] for its in rounds) for name in rounds[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", action="store_true", help="keep the figures in results/<device>.json")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options, console = parser.parse_args(), Console()
    if options.worker:
        work(options.worker)
        return
    its = medians([one_round() for _ in range(options.rounds)])
    ratio = its["first pass"] / its["second pass"]
    kept = "kept" if its["hits"] < HITS_LIMIT else "[bold]exceeded[/]"
    console.print(f"{HITS} hits        {its['hits']:8.3f} s    the limit is {HITS_LIMIT:g} s: {kept}")
    console.print(f"    of a processor{its['hits, processor']:8.3f} s")
    reached = "reached" if ratio >= SPEEDUP else "[bold]missed[/]"
    console.print(
        f"{SLOW} calls of 1 ms {its['first pass']:8.3f} s    again {its['second pass']:.4f} s, {ratio:.0f}x as fast"
    )
    console.print(f"                              {SPEEDUP:g}x are aimed at: {reached}")
    processor = f"{its['miss, processor'] * 1e6:.0f} us of a processor; bare {its['bare'] * 1e6:.1f} us"
    console.print(f"a miss            {its['miss'] * 1e6:8.0f} us   {processor}")
    console.print(
        f"{SLOW} calls of 10 ms{its['one process']:8.2f} s    by two processes at once {its['two processes']:.2f} s"
    )
    if options.save:
        console.print("saved:", device.save("judge cache", {"rounds": options.rounds, "seconds": its, "ratio": ratio}))


if __name__ == "__main__":
    main()
