"""How long a newcomer waits for the first answer: the import, `rlaif --help` and `rlaif plugins`.

Each command runs in a process of its own. A round runs every command once, so that a busy moment falls on all of them
alike; what counts is the median over the rounds, and for the import what it takes beyond a bare interpreter.

    python benches/bench_startup.py [--rounds 11] [--save]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import device

RLAIF = str(Path(sys.executable).with_name("rlaif"))
COMMANDS = {
    "bare interpreter": [sys.executable, "-c", "pass"],
    "import rlaif_core": [sys.executable, "-c", "import rlaif_core"],
    "rlaif --help": [RLAIF, "--help"],
    "rlaif plugins": [RLAIF, "plugins"],
}
LIMITS = {"import rlaif_core": 0.3, "rlaif --help": 0.5, "rlaif plugins": 0.8}  # seconds; the import's is its excess


def seconds(command: list[str]) -> float:
    """Wall-clock time of one run, which must succeed."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Median and range in seconds for each command, after one round that only warms the disk."""
    for command in COMMANDS.values():
        seconds(command)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    return {
        name: {"median": statistics.median(each), "least": min(each), "most": max(each)} for name, each in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11, choices=range(7, 1000), metavar="N", help="7 or more")
    parser.add_argument("--save", action="store_true", help="keep the figures in results/<device>.json")
    options = parser.parse_args()
    figures = measure(options.rounds)
    bare = figures["bare interpreter"]["median"]
    print(f"{'':<20} {'median':>8} {'least':>8} {'most':>8} {'limit':>8}   seconds, {options.rounds} rounds")
    for name, figure in figures.items():
        print(f"{name:<20} {figure['median']:8.3f} {figure['least']:8.3f} {figure['most']:8.3f}", end="")
        print(f" {LIMITS[name]:8.3f}" if name in LIMITS else "")
    print(f"the import over a bare interpreter: {figures['import rlaif_core']['median'] - bare:.3f}")
    if options.save:
        print("saved:", device.save("start-up", {"rounds": options.rounds, "limits": LIMITS, "seconds": figures}))


if __name__ == "__main__":
    main()
