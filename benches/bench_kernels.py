"""The kernels against the machine's limits, plain torch and other projects: the whole matrix, on one device.

    python benches/bench_kernels.py [--op gae] [--threads 1 2] [--python PEER/bin/python] [--save]

Every operation is measured in a process of its own, so that no peer leaves anything behind for another. With --python
these are processes of an environment in which the peers are installed (torch, and whichever of trl, verl, torchrl,
stable-baselines3, tianshou, numba, scipy, liger-kernel and cut-cross-entropy are to take part) and rlaif is not: the
kernels of this one, with their binaries, are put on its path. It must be the same version of Python.

--save writes into results/: a section of <device>.json, <device>-kernels.jsonl with a row a line, a table
<device>-kernels.md and a roofline <device>-kernels.svg. Operations that are not measured this time keep their rows.
--render makes table and roofline anew from the rows. --gate ends with an error if one of ours has fallen behind its row
in results/ by more than a tenth, measured as a share of what this machine can do just now.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import device
from kernel_tables import markdown
from rich.console import Console
from roofline import roofline

import rlaif_kernels
from rlaif_kernels.bench import matrix, operations
from rlaif_kernels.bench.row import short_name_of

Row = dict[str, Any]
Limits = dict[str, dict[str, Any]]
"""Number of threads -> `rlaif_kernels.bench.Limits`."""

SLACK = 1.1
NAMELESS = ("device", "ours", "note", "versions")  # left out of a row where there is nothing in it


def transplanted(folder: Path) -> Path:
    """The kernels and their binaries in a folder of their own, for another environment's path."""
    target = folder / "rlaif_kernels"
    shutil.copytree(Path(rlaif_kernels.__file__).parent, target, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_native", "_native_cuda"):  # in an editable installation they are not beside the sources
        spec = find_spec(f"rlaif_kernels.{name}")
        if spec is not None and spec.origin and not (target / Path(spec.origin).name).exists():
            shutil.copy2(spec.origin, target)
    return folder


def measured(
    python: str, path: Path | None, op: str, threads: int, rest: Sequence[str], console: Console
) -> tuple[dict[str, Any], list[Row]]:
    """The limits and rows of one operation, from a fresh process."""
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    if path is not None:
        env["PYTHONPATH"] = str(path)
    command = [python, "-m", "rlaif_kernels.bench", f"--op={op}", f"--threads={threads}", *rest]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        said: list[dict[str, Any]] = []
        for line in process.stdout:
            said.append(json.loads(line))
            if len(said) > 1:
                console.print(told(said[-1]), highlight=False, markup=False)
    if process.returncode or not said:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}; run it by itself to see why")
    limits, *rows = said
    return limits, [{**row, "threads": threads} for row in rows]


def told(row: Row) -> str:
    """A row in one line, while it goes on."""
    head = f"{row['op']} {row['case']} {row['dtype']}: {row['impl']} {row['phase']}"
    if row["ms"] is None:
        return f"{head}: {row['status']}: {row['note']}"
    ratio = "" if row["ratio"] is None else f", {row['ratio']:.2f}x ours"
    return f"{head}: {row['ms']:.4g} ms, {row['fraction']:.0%} of the limit, error {row['error']:.1e}{ratio}"


def summary(limits: Limits, rows: Iterable[Row]) -> dict[str, Any]:
    """What is worth comparing between machines at a glance: the limits, and how each peer stands against ours."""
    ratios: dict[str, list[float]] = defaultdict(list)
    versions: dict[str, str] = {}
    for row in rows:
        if row.get("ratio") and not row.get("ours"):
            ratios[f"{row['op']}, {row['impl']}"].append(row["ratio"])
            versions |= row["versions"]
    against = {
        name: {"least": min(its), "median": statistics.median(its), "most": max(its), "comparisons": len(its)}
        for name, its in sorted(ratios.items())
    }
    return {"limits": limits, "versions": versions, "times ours": against}


def stripped(row: Row) -> Row:
    """A row without what is empty, numbers to four digits."""
    kept = {name: value for name, value in row.items() if value is not None and not (name in NAMELESS and not value)}
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in kept.items()}


def fallen(before: Iterable[Row], rows: Iterable[Row]) -> list[str]:
    """Of ours, which take a smaller share of the machine's limits than they did, by more than `SLACK`."""

    def named(row: Row) -> tuple[Any, ...]:
        return tuple(row[name] for name in ("op", "case", "impl", "phase", "dtype", "cache", "threads"))

    known = {named(row): row["fraction"] for row in before if row.get("ours") and row.get("fraction")}
    shares = {named(row): row["fraction"] for row in rows if row.get("fraction")}
    return [
        f"{' '.join(map(str, name))}: {known[name]:.1%} of the limit before, {share:.1%} now"
        for name, share in shares.items()
        if name in known and share * SLACK < known[name]
    ]


def rows_file(limits: Limits) -> Path:
    return device.RESULTS / f"{device.device(accelerator(limits))}-kernels.jsonl"


def accelerator(limits: Limits) -> str | None:
    name: str = next(iter(limits.values()))["device"]
    return None if name == "cpu" else name


def save(limits: Limits, rows: Sequence[Row]) -> None:
    """Put these rows in the place of older ones of the same cases and numbers of threads."""
    path = rows_file(limits)

    def of(row: Row) -> tuple[Any, ...]:
        return row["op"], row["case"], row["dtype"], row["threads"]

    now = set(map(of, rows))
    every = [(case.op, case.label, short_name_of(case.dtype)) for case in matrix(large=True)]
    places = {case: place for place, case in enumerate(every)}
    if path.exists():
        head, *before = map(json.loads, path.read_text().splitlines())
        limits = {threads: best(its, limits.get(threads, its)) for threads, its in (limits | head["limits"]).items()}
        rows = [*(row for row in before if of(row) not in now and of(row)[:3] in places), *rows]
    rows = sorted(map(stripped, rows), key=lambda row: (row["op"], row["threads"], places[of(row)[:3]]))
    lines = [json.dumps({"limits": limits}), *(json.dumps(row, ensure_ascii=False) for row in rows)]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    device.save("kernels", summary(limits, rows), accelerator(limits))


def render(path: Path) -> Iterable[Path]:
    """The table and the roofline beside a file of rows."""
    head, *rows = map(json.loads, path.read_text().splitlines())
    named = rows[0].get("device", "cpu")
    title = device.processor() if named == "cpu" else named
    table, picture = path.with_suffix(".md"), path.with_suffix(".svg")
    table.write_text(markdown(title, head["limits"], rows, picture.name))
    most = max(head["limits"], key=lambda threads: int(threads))
    picture.write_text(roofline(title, head["limits"][most], [row for row in rows if row["threads"] == int(most)]))
    yield from (table, picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--op", action="append", choices=operations(), help="only this operation; repeatable")
    parser.add_argument("--case", default="", help="only cases of whose name and dtype this is part; with --op")
    parser.add_argument("--threads", type=int, nargs="+", default=[os.cpu_count() or 1])
    parser.add_argument("--python", help="the interpreter of an environment with the peers")
    parser.add_argument("--quick", action="store_true", help="the cases that take seconds")
    parser.add_argument("--budget", type=float, default=1.0, help="seconds of samples for each pass of each one")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--gate", action="store_true", help="an error where ours has become slower by a tenth")
    parser.add_argument("--save", action="store_true", help="keep the figures in results/")
    parser.add_argument("--render", type=Path, metavar="ROWS", help="only table and roofline, of a file of rows")
    options, console = parser.parse_args(), Console()
    if options.render:
        console.print("written:", *render(options.render))
        return
    rest = [f"--budget={options.budget}", f"--case={options.case}", *(["--quick"] if options.quick else [])]
    rest += [f"--device={options.device}"] if options.device else []
    limits: Limits = {}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        path = transplanted(Path(folder)) if options.python else None
        for threads in options.threads:
            for op in options.op or operations():
                found, some = measured(options.python or sys.executable, path, op, threads, rest, console)
                # Of several processes the best: a limit is what the machine can do when it is left alone.
                limits[str(threads)] = best(limits.get(str(threads), found), found)
                rows += some
                if options.save and not options.gate:
                    save(limits, some)
    if options.gate:
        path = rows_file(limits)
        before = list(map(json.loads, path.read_text().splitlines()[1:])) if path.exists() else []
        if slower := fallen(before, rows):
            raise SystemExit("slower than before:\n" + "\n".join(slower))
    elif options.save:
        console.print("saved:", rows_file(limits), *render(rows_file(limits)))


def best(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The higher of each rate."""
    products = {dtype: max(rate, other["products"][dtype]) for dtype, rate in one["products"].items()}
    rates = {name: max(one.get(name) or 0, other.get(name) or 0) for name in ("copy", "read", "mhz")}
    return one | rates | {"products": products}


if __name__ == "__main__":
    main()
