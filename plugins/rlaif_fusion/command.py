"""The verb `rlaif fuse`: several sources' feedback on pairs of answers into one dataset of preferences."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rlaif_fusion.config import FuseConfig
    from rlaif_fusion.fuse import Fused
    from rlaif_fusion.reading import Rows

PAIRS, REPORT, FUSION = "pairs", "report.json", "fusion.json"


def fuse(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file.", show_default=False)],
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override, as in fusion.method=joint.")
    ] = None,
    out: Annotated[str | None, typer.Option("--out", metavar="DIR", help="In place of fusion.out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Fuse what several sources say of pairs of answers into one dataset of preferences."""
    from rlaif_fusion.config import FuseConfig
    from rlaif_fusion.report import lines

    wanted = FuseConfig.load(config, sets or [])
    folder = Path(out or wanted.fusion.out)
    found, left_out = carry_out(wanted, folder)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    table, told = lines(found)
    _print(table)
    for line in told:
        typer.echo(line)
    if left_out:
        typer.echo(f"{left_out} pairs are left out, for nothing takes a side on them")
    typer.echo(f"preferences in {folder / PAIRS}, the report beside them, the fusion for later in {folder / FUSION}")


def carry_out(wanted: FuseConfig, folder: Path) -> tuple[dict[str, Any], int]:
    """Read, fuse, measure, and write `folder`; the report, and how many pairs the dataset leaves out."""
    from rlaif_core import ConfigError, DataError
    from rlaif_core.files import replace_folder, writing
    from rlaif_fusion.fuse import fuse as fuse_sources
    from rlaif_fusion.reading import read
    from rlaif_fusion.report import report

    if folder.exists():
        raise ConfigError(f"{folder} exists already; remove it, or give another folder with --out")
    rows, options = read(wanted), wanted.fusion
    fused = fuse_sources(
        rows.said,
        rows.trusted,
        method=options.method,
        kinds=rows.kinds,
        positions=rows.positions,
        lengths=rows.lengths() if options.length else None,
        mirrored=options.mirrored,
        level=options.level,
        seed=options.seed,
    )
    found = report(rows, fused, level=options.level, seed=options.seed)
    kept = preferences(rows, fused)
    aside = folder.with_name(f".{folder.name}.tmp")
    if not kept:
        raise DataError("no source takes a side on any pair; there is nothing to write")
    try:
        with writing(folder):
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            _save(kept, aside / PAIRS)
            (aside / REPORT).write_text(json.dumps(found, indent=1), encoding="utf-8")
            fused.fusion.save(aside / FUSION)
            replace_folder(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return found, len(rows.prompts) - len(kept)


def preferences(rows: Rows, fused: Fused) -> list[dict[str, Any]]:
    """A row a pair on which a side is taken: which answer is chosen, how probably it is the better one, and the votes.

    Trusted labels count as they are, those held out as well, now that all is measured.
    """
    found = []
    for row, prompt in enumerate(rows.prompts):
        label = rows.trusted[row] if rows.trusted[row] is not None else rows.held_out[row]
        probability = label if label in (0.0, 1.0) else fused.probabilities[row]
        if probability is None or probability == 0.5:
            continue
        answers = (rows.first[row], rows.second[row])
        chosen, rejected = answers if probability > 0.5 else answers[::-1]
        found.append(
            {
                "id": prompt.id,
                "prompt": [dict(message) for message in prompt.messages] or prompt.text,
                "chosen": chosen,
                "rejected": rejected,
                "probability": max(probability, 1 - probability),
                "first_chosen": probability > 0.5,
                "trusted": label in (0.0, 1.0),
                "votes": {name: said[row] for name, said in rows.said.items()},
            }
        )
    return found


def _save(kept: list[dict[str, Any]], folder: Path) -> None:
    import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        datasets.Dataset.from_list(kept).save_to_disk(str(folder))
    finally:
        if shown:
            datasets.enable_progress_bars()


def _print(rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*rows[0], box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)
