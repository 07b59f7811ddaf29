"""A GRPO step of this project against one of TRL's: the same model, batch, settings and work, taken in turn.

Each program runs in a fresh process of its own. They are all alive at once and take a step by turns, so that a busy
moment of the machine falls on all of them alike; whoever is not at work sleeps. A third program is ours again with the
run's `kernels = "torch"`: without generation in C++ and linear layers by oneDNN, which shows what those two gain. A
fourth is the peer again, told by its environment to keep freed memory as our runs do (`rlaif_core/memory.py`).

    python benches/bench_step.py [--peer-python PEER/bin/python] [--rounds 3] [--threads 1 2] [--save]

Without a peer (see `peer_trl_grpo.py` for its environment) only ours is timed. Wall-clock time decides; processor time
stands beside it, because it tells more where other people use the machine too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import device
from peer_trl_grpo import PHASES, summary
from rich.console import Console
from rich.table import Table

from rlaif_core.memory import LARGEST, PLENTY

HERE = Path(__file__).resolve().parent
OURS, PLAIN, PEER, KEEPING = "ours", "ours, torch's kernels", "trl", "trl, keeping its memory"
KEEP = {"MALLOC_TRIM_THRESHOLD_": str(PLENTY), "MALLOC_MMAP_THRESHOLD_": str(LARGEST)}
SHOWN = ("wall", "processor", *PHASES, "record", "other")
TARGET = 2.0
"""How many times as fast as the peer a step has to be."""


class Program:
    """One contestant: a process that takes a step when told to."""

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        self.name, self.command, self._complaints = name, command, folder / "complaints"
        pipe = subprocess.PIPE
        with self._complaints.open("w") as complaints:
            self._process = subprocess.Popen(
                [*command, "--lockstep"],
                stdin=pipe,
                stdout=pipe,
                stderr=complaints,
                text=True,
                env={**os.environ, **(KEEP if name == KEEPING else {})},
            )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def heard(self) -> str:
        """The next line it says: "step", or its figures at the end."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            complaints = self._complaints.read_text()[-3000:]
            raise SystemExit(f"{self.name} ended early: {' '.join(self.command)}\n{complaints}")
        return line.strip()

    def advance(self) -> str:
        """Let it take one more step and wait until it has."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.heard()

    def figures(self) -> dict[str, Any]:
        """What it measured, after its last step."""
        said: dict[str, Any] = json.loads(self.advance())
        return said


def commands(options: argparse.Namespace, threads: int) -> dict[str, list[str]]:
    shared = [f"--{name}={getattr(options, name)}" for name in ("model", "warmup", "steps")] + [f"--threads={threads}"]
    own = [sys.executable, str(HERE / "own_grpo.py"), *shared]
    run = {OURS: own, PLAIN: [*own, "--kernels=torch"]}
    if options.peer_python:
        run[PEER] = run[KEEPING] = [options.peer_python, str(HERE / "peer_trl_grpo.py"), *shared]
    return run


def in_turn(programs: dict[str, list[str]], steps: int) -> dict[str, dict[str, Any]]:
    """Start one after the other, let them take steps by turns, and collect what each measured."""
    with contextlib.ExitStack() as stack:
        running = []
        for name, command in programs.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            running.append(stack.enter_context(Program(name, command, folder)))
            running[-1].heard()
        for _ in range(steps - 1):
            for program in running:
                program.advance()
        said = {program.name: program.figures() for program in running}
    same_work(said)
    return said


def same_work(said: dict[str, dict[str, Any]]) -> None:
    """Every program checks its own work; here they are compared with each other."""
    described = {
        name: (
            its["work"]["completions"],
            its["work"]["tokens"],
            sorted(its["work"]["prompt_tokens"]),
            *(its["settings"][key] for key in ("beta", "lr", "seed", "warmup", "steps")),
            its["threads"],
            its["versions"]["torch"].partition("+")[0],
        )
        for name, its in said.items()
    }
    if len({str(work) for work in described.values()}) > 1:
        raise SystemExit(f"they did not do the same work: {described}")


def measure(options: argparse.Namespace, threads: int) -> dict[str, Any]:
    """All rounds with this many threads."""
    programs = commands(options, threads)
    rounds = []
    for number in range(options.rounds):
        order = list(programs)[number % len(programs) :] + list(programs)[: number % len(programs)]
        rounds.append(in_turn({name: programs[name] for name in order}, options.warmup + options.steps))
    result: dict[str, Any] = {name: pooled([each[name] for each in rounds]) for name in programs}
    for name, key in (
        (PEER, "times as fast as the peer"),
        (KEEPING, "times as fast as the peer that keeps its memory"),
        (PLAIN, "times as fast as with torch's kernels"),
    ):
        if name in programs:
            result[key] = compared(rounds, name)
    return result


def pooled(said: list[dict[str, Any]]) -> dict[str, Any]:
    """The steps of all rounds together; memory is that of the hungriest process."""
    rows = [row for its in said for row in its["rows"]]
    seconds = {name: summary([row.get(name, 0.0) for row in rows]) for name in SHOWN}
    work = said[0]["work"]
    return {
        "who": said[0]["who"],
        "versions": said[0]["versions"],
        "seconds": seconds,
        "tokens_per_second": sum(work["tokens"]) / seconds["wall"]["median"],
        "peak_memory_bytes": max(its["memory_bytes"]["peak"] for its in said),
    }


def compared(rounds: list[dict[str, dict[str, Any]]], other: str) -> dict[str, Any]:
    """How many of our steps fit into one of theirs, by medians: over all rounds, and in each."""

    def ratio(clock: str, some: list[dict[str, dict[str, Any]]]) -> float:
        theirs, ours = ([row[clock] for its in some for row in its[name]["rows"]] for name in (other, OURS))
        return float(statistics.median(theirs) / statistics.median(ours))

    return {
        clock: {"median": ratio(clock, rounds), "each round": [ratio(clock, [one]) for one in rounds]}
        for clock in ("wall", "processor")
    }


def medians(result: dict[str, Any], name: str) -> dict[str, float]:
    return {phase: result[name]["seconds"][phase]["median"] for phase in SHOWN}


def where(result: dict[str, Any]) -> list[str]:
    """Where each spends its step, in words, from the figures alone."""
    every = {name: medians(result, name) for name in (OURS, PLAIN, PEER, KEEPING) if name in result}
    said = []
    for name, its in every.items():
        shares = ", ".join(f"{p} {its[p]:.3f} s ({its[p] / its['wall']:.0%})" for p in (*PHASES, "other"))
        said.append(f"{result[name]['who']} ({name}): {its['wall']:.3f} s a step: {shares}")
    if PEER in result:
        ahead, own = ({p: every[name][p] - every[OURS][p] for p in SHOWN} for name in (PEER, PLAIN))
        phases = ", ".join(f"{p} {ahead[p]:+.3f} s (kernels {own[p]:+.3f} s)" for p in (*PHASES, "other"))
        said.append(f"we are ahead by {ahead['wall']:.3f} s, of which the kernels are {own['wall']:.3f} s: {phases}")
    return said


def notes(results: dict[str, dict[str, Any]]) -> list[str]:
    """What to know before believing the figures."""
    said = [
        "our step writes answers, metrics and TensorBoard points to the disk (`record`, within `other`), while the "
        "peer's logging is off: by that much we lose",
        "the peer's end token is suppressed by a logits processor; ours is given an end that it never draws",
        "a group's prompt is read once, in generation as in training: longer prompts and larger groups gain more than "
        "this work does, and groups of one gain nothing",
    ]
    for threads, result in results.items():
        if PEER in result:
            keeping = result["times as fast as the peer that keeps its memory"]["wall"]["median"]
            said.append(
                f"threads {threads}: {keeping:.2f} times as fast as a peer whose environment tells glibc to keep freed "
                "memory, which our runs do of themselves"
            )
            times = medians(result, PEER)["wall"] / medians(result, PLAIN)["wall"]
            said.append(
                f"threads {threads}: with kernels = 'torch' {times:.2f} times as fast as the peer, which is what to "
                "expect of a model that is not of the Llama family, where MKL is fast"
            )
    few, many = min(results, key=int), max(results, key=int)
    for name in (OURS, PEER):
        if few != many and name in results[few]:
            one, more = medians(results[few], name), medians(results[many], name)
            gains = ", ".join(f"{p} {one[p] / more[p]:.2f}" for p in ("wall", "generation", "forward", "backward"))
            said.append(f"{name}: times as fast with {many} threads as with {few}: {gains}; decode steps are small")
    return said


def show(result: dict[str, Any], threads: int) -> Table:
    names = [name for name in (OURS, PLAIN, PEER, KEEPING) if name in result]
    table = Table(title=f"a GRPO step with {threads} thread{'s' * (threads > 1)}: median seconds (10 %-90 %)")
    table.add_column("")
    for name in names:
        table.add_column(result[name]["who"] + ("" if name == PEER else f"\n{name}"), justify="right")
    for phase in SHOWN:
        cells = [result[name]["seconds"][phase] for name in names]
        table.add_row(phase, *(f"{c['median']:.3f} ({c['p10']:.3f}-{c['p90']:.3f})" for c in cells))
    table.add_row("tokens/s", *(f"{result[name]['tokens_per_second']:.0f}" for name in names))
    table.add_row("peak MiB", *(f"{result[name]['peak_memory_bytes'] / 2**20:.0f}" for name in names))
    return table


def verdict(result: dict[str, Any]) -> str:
    """How we compare with the peer, in a sentence."""
    wall, processor = (result["times as fast as the peer"][clock]["median"] for clock in ("wall", "processor"))
    keeping = result["times as fast as the peer that keeps its memory"]["wall"]["median"]
    memory = result[OURS]["peak_memory_bytes"] / result[PEER]["peak_memory_bytes"]
    met = "met" if wall >= TARGET and memory <= 1 else "[bold]missed[/]"
    return (
        f"{wall:.2f} times as fast as the peer by the clock, {processor:.2f} by processor time, with {memory:.2f} of "
        f"its memory: the target ({TARGET:g} times, no more memory) is {met}; {keeping:.2f} times as fast as the peer "
        "that keeps its memory"
    )


def arguments() -> argparse.Namespace:
    real_data = Path(os.environ.get("RLAIF_REAL_DATA", HERE.parents[1] / "shared"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=real_data / "models" / "tiny-chat")
    parser.add_argument("--peer-python", help="the interpreter of an environment with trl")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12, help="timed steps of each program in a round")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--save", action="store_true", help="keep the figures in results/<device>.json")
    return parser.parse_args()


def main() -> None:
    options, console = arguments(), Console()
    if not options.model.is_dir():
        console.print(f"no model at {options.model}; give --model, or set RLAIF_REAL_DATA to a folder with models/")
        return
    results = {}
    for threads in options.threads:
        results[str(threads)] = result = measure(options, threads)
        result["where the time goes"] = where(result)
        console.print(show(result, threads))
        console.print(*result["where the time goes"], sep="\n")
        if PEER in result:
            console.print(verdict(result), end="\n\n")
    if options.save:
        settings = {name: getattr(options, name) for name in ("rounds", "warmup", "steps")}
        figures = {"settings": settings, "threads": results, "notes": notes(results)}
        console.print("saved:", device.save("grpo step", figures))


if __name__ == "__main__":
    main()
