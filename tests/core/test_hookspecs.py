from __future__ import annotations

import doctest
import types
from typing import Any

import pluggy
import pytest

from rlaif_core import hookspecs, offers
from rlaif_core.offers import KINDS
from rlaif_core.plugins import EVENTS, Origin, Plugins

HOOKS = [name for name in vars(hookspecs) if name.startswith("rlaif_")]


def ran(example: doctest.DocTest) -> dict[str, Any]:
    """The names that a docstring's example defines, once it has run without a failure."""
    said: list[str] = []
    runner = doctest.DocTestRunner()
    results = runner.run(example, out=said.append, clear_globs=False)
    assert results.attempted > 0, f"{example.name} has no example"
    assert results.failed == 0, "".join(said)
    return example.globs


def test_the_hooks_are_one_a_kind_and_the_events() -> None:
    assert sorted(HOOKS) == sorted([*(f"rlaif_{kind}" for kind in KINDS), *EVENTS])


def test_every_hook_is_a_specification() -> None:
    manager = pluggy.PluginManager("rlaif")
    manager.add_hookspecs(hookspecs.specifications())
    assert all(getattr(manager.hook, hook).spec is not None for hook in HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_of_every_hook_runs_and_is_a_plugin(hook: str) -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(hookspecs, hook), hook)
    defined = ran(example)
    implementation = defined[hook]
    plugin = types.ModuleType("example")
    implementation.__module__ = "example"
    setattr(plugin, hook, implementation)
    plugins = Plugins()
    plugins.add(plugin, Origin("example", "rlaif-example", "1"))
    offered = hook.removeprefix("rlaif_") in KINDS
    assert len(plugins.listings()) == offered
    assert len(plugins.implementations(hook)) == 1


def test_the_example_of_the_reward_shorthand_runs() -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(offers.reward, "reward")
    assert ran(example)["brevity"](None, "x" * 1000) == -1


def test_the_example_command_says_hello(capsys: pytest.CaptureFixture[str]) -> None:
    import typer

    (example,) = doctest.DocTestFinder(recurse=False).find(hookspecs.rlaif_commands, "rlaif_commands")
    app = typer.Typer()
    ran(example)["rlaif_commands"](app)
    (command,) = app.registered_commands
    assert command.callback is not None
    command.callback()
    assert capsys.readouterr().out == "hello from a plugin\n"
