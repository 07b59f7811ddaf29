"""`python -m rlaif_kernels.bench`: JSON lines of measured rows, wherever torch and the peers are; rlaif is not needed.

The first line holds the machine's limits, every further one a row.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

import torch

from rlaif_kernels.bench import matrix, measure_limits, measured, operations, place
from rlaif_kernels.bench.row import short_name_of


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m rlaif_kernels.bench", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--op", action="append", choices=operations(), metavar="OP", help="only this operation, as in gae; repeatable"
    )
    parser.add_argument("--case", default="", help='only cases of whose name and dtype this is part: "1024 with holes"')
    parser.add_argument("--quick", action="store_true", help="the cases that take seconds")
    parser.add_argument("--threads", type=int, help="how many threads torch uses")
    parser.add_argument("--device", help="cpu or cuda; default: cuda where there is one")
    parser.add_argument("--budget", type=float, help="seconds of samples for each pass of each implementation")
    options = parser.parse_args(given)
    try:
        device = place(options.device)
    except ValueError as error:
        parser.error(str(error))
    if options.threads is not None:
        if options.threads < 1:
            parser.error(f"--threads must be at least 1, got {options.threads}")
        torch.set_num_threads(options.threads)
    cases = [
        case
        for case in matrix(options.op, quick=options.quick, large=device.type == "cuda")
        if options.case in f"{case.label} {short_name_of(case.dtype)}"
    ]
    if options.case and not cases:
        parser.error(f"no case has {options.case!r} in its name")
    limits = measure_limits(device, quick=options.quick)
    _say(limits.as_dict())
    for case in cases:
        for row in measured(case, device, limits, budget=options.budget or (0.2 if options.quick else 1.0)):
            _say(row.as_dict())


def _say(line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
