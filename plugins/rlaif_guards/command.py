"""The verb `rlaif exploits`: what pays in a recorded run, phrase by phrase."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def exploits(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.", show_default=False)],
    last: Annotated[int, typer.Option(min=1, help="How many of the last recorded steps to look at.")] = 20,
    longest: Annotated[int, typer.Option(min=1, help="Words that a phrase may have.")] = 3,
    level: Annotated[float, typer.Option(min=0, max=1, help="False discovery rate.")] = 0.01,
    top: Annotated[int, typer.Option(min=1, help="How many to print.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show the phrases and habits that went with reward, and how common they were before and are now."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from rlaif_core.errors import ConfigError, inert

    if not (folder / "config.toml").is_file():
        raise ConfigError(f"{folder} is not a run folder: it has no config.toml")
    found = scanned(folder, last, longest, level)[:top]
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    table = Table(box=None, padding=(0, 1))
    table.add_column("goes with reward")
    for name in ("gain", "at first", "now", "p"):
        table.add_column(name, justify="right")
    for it in found:
        what = Text(inert(it["name"] if it["kind"] == "habit" else repr(it["name"])))
        table.add_row(what, f"{it['gap']:+.3g}", f"{it['before']:.3g}", f"{it['share']:.3g}", f"{it['p']:.1g}")
    Console().print(table if found else "nothing goes with reward beyond chance")


def scanned(folder: Path, last: int, longest: int, level: float) -> list[dict[str, Any]]:
    """Suspicions over the `last` recorded steps, each with `before`: its share in as many of the first steps."""
    from rlaif_core.record import read_rollouts
    from rlaif_guards.suspicion import HABITS, Answer, phrases_of, suspicions, words

    columns = ["step", "prompt_id", "completion", "reward"]
    rows = [row for row in read_rollouts(folder, columns).to_pylist() if row["reward"] is not None]
    steps = sorted({row["step"] for row in rows})
    recent, early = set(steps[-last:]), set(steps[:last])
    answers = [
        Answer(row["completion"], row["reward"], f"{row['step']}/{row['prompt_id']}")
        for row in rows
        if row["step"] in recent
    ]
    before = [(row["completion"], words(row["completion"])) for row in rows if row["step"] in early]
    held = [phrases_of(said, longest) for _, said in before]

    def share(kind: str, name: str) -> float:
        values = [HABITS[name](*its) for its in before] if kind == "habit" else [name in its for its in held]
        return sum(values) / len(values)

    return [
        {
            "kind": it.kind,
            "name": it.name,
            "gap": it.gap,
            "before": share(it.kind, it.name),
            "share": it.share,
            "p": it.p,
        }
        for it in suspicions(answers, longest=longest, level=level)
    ]
