"""The verb `rlaif label`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

NOTHING: Any = []


def label(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file.", show_default=False)],
    sets: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override, as in label.seed=5. Repeatable.")
    ] = NOTHING,
    out: Annotated[str | None, typer.Option("--out", metavar="DIR", help="The folder, in place of label.out.")] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Set aside what the folder holds, and ask everything again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    plugin: Annotated[
        list[Path], typer.Option("--plugin", metavar="FILE", help="Load a plugin from a file. Repeatable.")
    ] = NOTHING,
    no_plugin: Annotated[
        list[str], typer.Option("--no-plugin", metavar="NAME", help="Do not load a plugin. Repeatable.")
    ] = NOTHING,
) -> None:
    """Label a whole dataset as CONFIG says: preferences, scores, rankings, critiques, revisions.

    Called again it goes on where it was stopped, and asks again only what has failed.
    """
    from rlaif_core.plugins import Plugins
    from rlaif_judges.label import labelling
    from rlaif_judges.label.config import LabelConfig
    from rlaif_judges.label.summary import shown

    words = ["rlaif", "label", str(config)]
    given: dict[str, Sequence[object]] = {
        "--set": sets,
        "--out": [out] if out else [],
        "--plugin": plugin,
        "--no-plugin": no_plugin,
    }
    for flag, values in given.items():
        words += [word for value in values for word in (flag, str(value))]
    plugins = Plugins.load(block=no_plugin, files=plugin)
    wanted = LabelConfig.load(config, [*sets, *([f"label.out={json.dumps(out)}"] if out else [])])
    report = labelling.label(wanted, plugins, anew=anew, again=shlex.join(words))
    if as_json:
        typer.echo(json.dumps(report, indent=1))
    else:
        shown(report)
