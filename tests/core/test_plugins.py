from __future__ import annotations

import types
from typing import Any

import pytest

import rlaif_core as rl
from rlaif_core.plugins import Origin, Plugins

HERE = Origin("here", "rlaif-here", "0.1")


def module(**functions: Any) -> types.ModuleType:
    """A module with these functions, as if it had defined them."""
    made = types.ModuleType("plugin")
    for name, function in functions.items():
        function.__module__ = "plugin"
        setattr(made, name, function)
    return made


def test_an_unknown_name_suggests_and_lists() -> None:
    plugins = Plugins.load()
    with pytest.raises(
        rl.PluginError, match=r"no plugin offers 'grop' under optimisers; did you mean 'grpo'\? Offered: dpo, "
    ):
        plugins.find("optimisers", "grop")
    with pytest.raises(rl.PluginError, match=r"no plugin offers 'x' under judges\. Offered: none"):
        Plugins().find("judges", "x")


def test_listings_are_sorted_by_kind_and_name() -> None:
    listings = Plugins.load().listings()
    kinds = [listing.kind for listing in listings]
    assert kinds.index("actions") < kinds.index("rewards") < kinds.index("credits") < kinds.index("optimisers")
    rewards = [listing.offer.name for listing in listings if listing.kind == "rewards"]
    assert rewards == sorted(rewards)


def test_a_required_plugin_must_be_there() -> None:
    plugins = Plugins.load()
    plugins.require(["builtins"])
    with pytest.raises(rl.PluginError, match="required plugin 'bultins' is not installed; did you mean 'builtins'"):
        plugins.require(["bultins"])


class Fussy:
    """Counts a word, but not any word."""

    def __init__(self, word: str, times: int = 1) -> None:
        if word == "never":
            raise ValueError("that word is not allowed")
        self.word, self.times = word, times


@pytest.fixture
def fussy() -> Plugins:
    @rl.hookimpl
    def rlaif_rewards() -> list[Any]:
        return [rl.Offer("fussy", Fussy)]

    plugins = Plugins()
    plugins.add(module(rlaif_rewards=rlaif_rewards), HERE)
    return plugins


def test_building_checks_the_options_and_names_the_plugin(fussy: Plugins) -> None:
    built = fussy.build("rewards", "fussy", {"word": "yes", "times": "3"})
    assert (built.word, built.times) == ("yes", 3)
    with pytest.raises(
        rl.ConfigError, match="reward source 'fussy': unknown option 'wrd'; did you mean 'word'"
    ) as caught:
        fussy.build("rewards", "fussy", {"wrd": "yes"})
    assert "in reward source 'fussy' from rlaif-here 0.1 (here)" in caught.value.__notes__[0]
    with pytest.raises(ValueError, match="that word is not allowed") as raised:
        fussy.build("rewards", "fussy", {"word": "never"})
    assert "building reward source 'fussy' from rlaif-here 0.1 (here)" in raised.value.__notes__[0]


def test_ready_made_objects_take_the_place_of_options(fussy: Plugins) -> None:
    judge = object()
    assert fussy.build("rewards", "fussy", {}, {"word": judge}).word is judge


def test_options_can_be_checked_without_building(fussy: Plugins) -> None:
    assert fussy.options("rewards", "fussy", {"word": "never"}) == {"word": "never"}
    with pytest.raises(rl.ConfigError, match="option 'word' is missing"):
        fussy.options("rewards", "fussy", {})


def test_an_event_that_raises_names_its_plugin() -> None:
    @rl.hookimpl
    def rlaif_run_finished(run: Any, error: Any) -> None:
        raise ConnectionError("no tracker")

    plugins = Plugins()
    plugins.add(module(rlaif_run_finished=rlaif_run_finished), HERE)
    with pytest.raises(ConnectionError) as caught:
        plugins.tell("rlaif_run_finished", run=None, error=None)
    assert "hook rlaif_run_finished of plugin rlaif-here 0.1 (here)" in caught.value.__notes__[0]


def test_implementations_come_with_their_origin() -> None:
    @rl.hookimpl
    def rlaif_commands(app: Any) -> None:
        app.append("verb")

    plugins, app = Plugins(), []
    plugins.add(module(rlaif_commands=rlaif_commands), HERE)
    ((origin, hook),) = plugins.implementations("rlaif_commands")
    hook(app)
    assert (origin, app) == (HERE, ["verb"])
