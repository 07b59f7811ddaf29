"""The command line: verbs that parse their arguments, call the library and print; nothing heavy is imported up here.

Plugins add verbs of their own through `rlaif_commands`. An error is one paragraph on stderr, never a traceback, unless
RLAIF_TRACEBACK=1 asks for one.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from rlaif_core import __version__
from rlaif_core.errors import RlaifError, blame, explain
from rlaif_core.plugins import BUILT_IN, LOCAL, Plugins

if TYPE_CHECKING:
    from rlaif_core.config import RunConfig
    from rlaif_core.run import History

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file.", show_default=False)]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.", show_default=False)]
Sets = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override, as in run.steps=5. Repeatable.")]
Files = Annotated[list[Path], typer.Option("--plugin", metavar="FILE", help="Load a plugin from a file. Repeatable.")]
Blocks = Annotated[list[str], typer.Option("--no-plugin", metavar="NAME", help="Do not load a plugin. Repeatable.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NOTHING: Any = []


class Verbs(TyperGroup):
    """The verbs, of which one may be interrupted: what a run says about that is worth reading."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            typer.secho("\n".join([str(stop) or "stopped", *getattr(stop, "__notes__", [])]), fg="red", err=True)
            raise typer.Exit(130) from stop


def run(
    config: Config,
    sets: Sets = NOTHING,
    plugin: Files = NOTHING,
    no_plugin: Blocks = NOTHING,
    strict: Annotated[bool, typer.Option("--strict", help="Name the stage that changes an earlier value.")] = False,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="The run folder, in place of run.out.")
    ] = None,
) -> None:
    """Train a policy as CONFIG says."""
    from rlaif_core.config import RunConfig
    from rlaif_core.run import run as train

    plugins = Plugins.load(block=no_plugin, files=plugin)
    wanted = RunConfig.load(config, [*sets, *([f"run.out={json.dumps(out)}"] if out else [])])
    _warn_of_unused(plugins, wanted)
    _finished(train(wanted, plugins=plugins, strict=strict))


def resume(
    folder: Folder,
    step: Annotated[int | None, typer.Option(help="Go on from this checkpoint; default: the newest.")] = None,
    sets: Sets = NOTHING,
    mended: Annotated[
        bool, typer.Option("--mended", help="Parts or their files were changed on purpose: take them as they are.")
    ] = False,
    plugin: Files = NOTHING,
    no_plugin: Blocks = NOTHING,
) -> None:
    """Go on with a run from its checkpoint."""
    from rlaif_core.run import resume as go_on

    plugins = Plugins.load(block=no_plugin, files=plugin)
    _finished(go_on(folder, step=step, changes=sets, mended=mended, plugins=plugins))


def check(config: Config, sets: Sets = NOTHING, plugin: Files = NOTHING, no_plugin: Blocks = NOTHING) -> None:
    """Resolve every name and option of CONFIG and print the plan; no weights are loaded."""
    from rlaif_core.config import RunConfig
    from rlaif_core.run import check as planned

    plugins, wanted = Plugins.load(block=no_plugin, files=plugin), RunConfig.load(config, sets)
    _warn_of_unused(plugins, wanted)
    lines = planned(wanted, plugins).lines
    rows = [
        (part, name, "\n".join(f"{key} = {value!r}" for key, value in options.items()), origin)
        for part, name, origin, options in lines
    ]
    _table(("part", "use", "options", "from"), rows)


def plugins(
    kind: Annotated[str | None, typer.Option(help="Only offers of this kind.")] = None,
    as_json: Json = False,
    plugin: Files = NOTHING,
    no_plugin: Blocks = NOTHING,
) -> None:
    """List what can be used, with its origin; plugins that failed to load come last."""
    from rlaif_core.show import kind_named, singular

    loaded = Plugins.load(block=no_plugin, files=plugin)
    listings = loaded.listings(kind_named(kind) if kind else None)
    if as_json:
        offers = [
            {
                "kind": each.kind,
                "name": each.offer.name,
                "summary": each.offer.summary,
                "plugin": each.origin.plugin,
                "distribution": each.origin.distribution,
                "version": each.origin.version,
            }
            for each in listings
        ]
        failures = {str(loaded.origins[name]): explain(error) for name, error in loaded.failures.items()}
        typer.echo(json.dumps({"offers": offers, "failures": failures}, indent=2))
        return
    rows = [(singular(each.kind), each.offer.name, each.offer.summary, str(each.origin)) for each in listings]
    _table(("kind", "name", "what it does", "from"), rows)
    for name, error in loaded.failures.items():
        typer.secho(f"\n{loaded.origins[name]} failed to load:\n{explain(error)}", fg="red")


def show(
    offer: Annotated[str, typer.Argument(metavar="KIND:NAME", show_default=False)],
    plugin: Files = NOTHING,
    no_plugin: Blocks = NOTHING,
) -> None:
    """Show one offer: its options with types and defaults, its docstring, its origin."""
    from rlaif_core.show import described, kind_named

    kind, colon, name = offer.partition(":")
    if not colon or not name:
        raise typer.BadParameter(f"{offer!r} is not KIND:NAME; write for example reward:length")
    typer.echo(described(Plugins.load(block=no_plugin, files=plugin).find(kind_named(kind), name)))


def new(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help="reward, action, judge, credit, optimiser, observer or policy", show_default=False
        ),
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name a config will use.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to put the plugin's folder.")] = Path(),
) -> None:
    """Write a plugin from a template: a package that works, with tests that pass."""
    from rlaif_core.scaffold import scaffold

    folder = scaffold(kind, name, out)
    typer.echo(
        f"{folder} is a plugin that works. Next:\n  pip install -e '{folder}[test]'\n  pytest {folder}\n  rlaif plugins"
    )


def bench(
    op: Annotated[
        list[str], typer.Option("--op", metavar="OP", help="Only this operation, as in gae. Repeatable.")
    ] = NOTHING,
    full: Annotated[bool, typer.Option("--full/--quick", help="The whole matrix, or what takes a minute.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="How many threads torch uses.", show_default=False)] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: cuda where there is one.")] = None,
    as_json: Json = False,
) -> None:
    """Measure the kernels on this machine: against its limits, plain torch, and other projects where installed."""
    from rlaif_core.bench import JsonPrinter, TablePrinter, planned, printed

    try:
        plan = planned(op, quick=not full, device=device)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if not printed(JsonPrinter() if as_json else TablePrinter(), plan, threads=threads):
        raise typer.Exit(1)


def doctor(as_json: Json = False) -> None:
    """Print versions, devices, binaries and plugin failures: what to paste into a bug report."""
    from rlaif_core.doctor import examine, rendered

    found = examine()
    typer.echo(json.dumps(found, indent=2) if as_json else rendered(found))
    if found["problems"]:
        raise typer.Exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rlaif {__version__}")
        raise typer.Exit


def _root(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Reinforcement learning of language models from AI feedback. Start with: rlaif demo"""


OWN = {verb.__name__: verb for verb in (run, resume, check, plugins, show, new, bench, doctor)}


def application(loaded: Plugins | None) -> typer.Typer:
    """Our verbs, and those of the `loaded` plugins; one that cannot add its verbs is warned about and left out."""
    app = typer.Typer(cls=Verbs, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
    app.callback()(_root)
    for verb in OWN.values():
        app.command()(verb)
    for origin, hook in loaded.implementations("rlaif_commands") if loaded else ():
        theirs = typer.Typer()
        try:
            with blame(f"hook rlaif_commands of plugin {origin}"):
                hook(theirs)
        except Exception as error:  # noqa: BLE001  a stranger's hook may raise anything, and the other verbs must work
            typer.secho(f"warning: the verbs of plugin {origin} are missing. {explain(error)}", fg="yellow", err=True)
            continue
        for command in theirs.registered_commands:
            own = origin.distribution == BUILT_IN  # our own plugins' verbs stand beside the core's
            command.rich_help_panel = command.rich_help_panel or (None if own else f"From {origin}")
            if verb_name(command) in OWN:
                text = f"warning: plugin {origin} offers a verb {verb_name(command)!r}, which is rlaif's own; left out"
                typer.secho(text, fg="yellow", err=True)
            else:
                app.registered_commands.append(command)
        app.registered_groups += theirs.registered_groups
    return app


def verb_name(command: Any) -> str:
    """The word by which typer will know a registered command."""
    return str(command.name or command.callback.__name__.replace("_", "-"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 for an error, 2 for wrong usage, 130 after Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Threads that spin while they wait make a step up to ten times slower wherever another process wants the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        loaded = None if words and words[0] in OWN else Plugins.load()
        application(loaded)(args=words, prog_name="rlaif")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except Exception as error:
        if os.environ.get("RLAIF_TRACEBACK") == "1":
            raise
        typer.secho(explain(error), fg="red", err=True)
        if not isinstance(error, RlaifError):
            # Notes say whose code raised; without any it was ours.
            whose = "" if getattr(error, "__notes__", None) else "This was not expected. "
            typer.secho(f"  at {origin(error)}\n{whose}RLAIF_TRACEBACK=1 shows the way there.", fg="red", err=True)
        return 1
    return 0


def origin(error: BaseException) -> str:
    """FILE:LINE where it was raised; of a syntax error, where that is."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"


def _warn_of_unused(plugins: Plugins, config: RunConfig) -> None:
    """A file was named for what it offers; say so when no table chooses that."""
    used = {table.use for table in config.chosen()}
    for listing in plugins.listings():
        if listing.origin.version.startswith(f"{LOCAL} ") and listing.offer.name not in used:
            text = f"{listing.origin.distribution} offers {listing.offer.name!r}, which no table of the config uses"
            typer.secho(f"warning: {text}", fg="yellow", err=True)


def _finished(history: History) -> None:
    steps = "1 step" if len(history) == 1 else f"{len(history)} steps"
    report = history.folder / "report.html"
    typer.echo(f"{steps} in {history.folder}{f'; look at {report}' if report.exists() else ''}")
    if history.ended:
        typer.secho(f"ended early: {history.ended}", fg="yellow", err=True)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*titles, box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*map(Text, row))
    # A pipe has no width: give every row one line, so that grep finds all of it.
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)
