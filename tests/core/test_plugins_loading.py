from __future__ import annotations

import hashlib
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import rlaif_core as rl
from rlaif_core.plugins import Origin, Plugins

BREVITY = """
import rlaif_core as rl
@rl.reward
def brevity(prompt: rl.Prompt, completion: str) -> float: return -len(completion) / 1000
"""
HOOKS = """
import rlaif_core as rl

class Count:
    def __init__(self, word: str = "please") -> None:
        self.word = word
    def score(self, rollouts):
        return [float(text.count(self.word)) for text in rollouts.completions]

@rl.hookimpl
def rlaif_rewards():
    yield rl.Offer("{name}", Count, "counts a word")
"""
HERE = Origin("here", "rlaif-here", "0.1")


def module(name: str = "plugin", **functions: Any) -> types.ModuleType:
    """A module with these functions, as if it had defined them."""
    made = types.ModuleType(name)
    for attribute, value in functions.items():
        if hasattr(value, "__module__"):
            value.__module__ = name
        setattr(made, attribute, value)
    return made


def offers(plugins: Plugins, distribution: str) -> list[str]:
    return [listing.offer.name for listing in plugins.listings() if listing.origin.distribution == distribution]


def test_a_reward_function_is_a_plugin_with_an_origin(distribution: Any) -> None:
    distribution("rlaif-brevity", {"brevity": "rlaif_brevity:brevity"}, {"rlaif_brevity": BREVITY}, "0.1")
    listing = Plugins.load().find("rewards", "brevity")
    assert listing.origin == Origin("brevity", "rlaif-brevity", "0.1")
    assert str(listing) == "reward source 'brevity' from rlaif-brevity 0.1 (brevity)"


def test_a_module_offers_by_its_hooks_and_its_reward_functions(distribution: Any) -> None:
    distribution("rlaif-two", {"two": "two"}, {"two": HOOKS.format(name="count") + BREVITY})
    assert offers(Plugins.load(), "rlaif-two") == ["brevity", "count"]


def test_an_object_with_hooks_is_a_plugin() -> None:
    class Plugin:
        @rl.hookimpl
        def rlaif_judges(self) -> list[rl.Offer[Any]]:
            return [rl.Offer("mine", "nowhere:Mine")]

    plugins = Plugins()
    plugins.add(Plugin(), HERE)
    assert plugins.find("judges", "mine").origin is HERE


def test_plugins_load_in_the_order_of_their_names(distribution: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for name in ("zebra", "aardvark"):
        note = f"import pathlib\nwith pathlib.Path({str(log)!r}).open('a') as file: file.write({name!r})\n"
        distribution(f"rlaif-{name}", {name: name}, {name: note + HOOKS.format(name=name)})
    Plugins.load()
    assert log.read_text() == "aardvarkzebra"


def test_a_plugin_that_only_listens_is_one_too() -> None:
    told = []

    @rl.hookimpl
    def rlaif_step_finished(step: int, metrics: Any) -> None:
        told.append((step, metrics["reward"]))

    plugins = Plugins()
    plugins.add(module(rlaif_step_finished=rlaif_step_finished), HERE)
    plugins.tell("rlaif_step_finished", step=3, experience=None, metrics={"reward": 0.5})
    assert told == [(3, 0.5)]


def test_blocked_plugins_are_not_imported(distribution: Any) -> None:
    distribution("rlaif-boom", {"boom": "boom"}, {"boom": "raise SystemError('imported')"})
    plugins = Plugins.load(block=["boom"])
    assert "boom" not in plugins.failures
    assert "boom" not in sys.modules
    with pytest.raises(rl.PluginError, match=r"Not loaded: boom \(blocked by --no-plugin\)"):
        plugins.find("rewards", "boom")
    with pytest.raises(rl.PluginError, match="required plugin 'boom' is not loaded: blocked by --no-plugin"):
        plugins.require(["boom"])


def test_blocking_what_is_not_there_suggests_what_is(distribution: Any) -> None:
    distribution("rlaif-brevity", {"brevity": "rlaif_brevity:brevity"}, {"rlaif_brevity": BREVITY})
    with pytest.raises(rl.PluginError, match="--no-plugin brevty: no such plugin; did you mean 'brevity'"):
        Plugins.load(block=["brevty"])


@pytest.mark.parametrize(
    ("allowed", "loaded"),
    [(None, {"one", "two"}), ("one", {"one"}), (" one , two ", {"one", "two"}), ("", set()), ("none-of-them", set())],
)
def test_the_allow_list_leaves_the_built_ins(
    distribution: Any, monkeypatch: pytest.MonkeyPatch, allowed: str | None, loaded: set[str]
) -> None:
    distribution("rlaif-one", {"one": "one"}, {"one": HOOKS.format(name="first")})
    distribution("rlaif-two", {"two": "two"}, {"two": HOOKS.format(name="second")})
    if allowed is not None:
        monkeypatch.setenv("RLAIF_PLUGINS", allowed)
    plugins = Plugins.load()
    assert {name for name in ("one", "two") if name in plugins.origins} == loaded
    assert "length" in offers(plugins, "rlaif-core")
    assert {name for name in ("one", "two") if name in plugins.blocked} == {"one", "two"} - loaded


BROKEN = {
    "raise RuntimeError('no licence')": (RuntimeError, "no licence"),
    "import a_package_that_is_not_there": (ModuleNotFoundError, "a_package_that_is_not_there"),
    "import sys; sys.exit(3)": (SystemExit, "3"),
    "def": (SyntaxError, "invalid syntax"),
    "import rlaif_core as rl\n@rl.hookimpl\ndef rlaif_reward(): return []": (
        rl.PluginError,
        "unknown hook 'rlaif_reward'; did you mean 'rlaif_rewards'?",
    ),
    "import rlaif_core as rl\n@rl.hookimpl\ndef rlaif_rewards(step): return []": (Exception, "step"),
    "def rlaif_rewards(): return []": (rl.PluginError, "rlaif_rewards is not marked as a hook; put @rl.hookimpl above"),
    "x = 1": (rl.PluginError, "it has no hooks; mark functions with @rl.hookimpl or use @rl.reward"),
    "import rlaif_core as rl\n@rl.hookimpl\ndef rlaif_rewards(): return [print]": (
        rl.PluginError,
        r"yielded a builtin_function_or_method; yield rl.Offer\(name, build, summary\)",
    ),
    "import rlaif_core as rl\n@rl.hookimpl\ndef rlaif_rewards(): raise OSError('no disk')": (OSError, "no disk"),
}


@pytest.mark.parametrize("source", BROKEN)
def test_a_broken_plugin_is_listed_and_stops_only_who_needs_it(distribution: Any, source: str) -> None:
    distribution("rlaif-broken", {"broken": "broken_plugin"}, {"broken_plugin": source})
    distribution("rlaif-whole", {"whole": "whole_plugin"}, {"whole_plugin": HOOKS.format(name="count")})
    plugins = Plugins.load()
    error, words = BROKEN[source]
    with pytest.raises(error, match=words):
        raise plugins.failures["broken"]
    assert offers(plugins, "rlaif-whole") == ["count"]
    with pytest.raises(rl.PluginError, match=f"(?s)Failed to load and perhaps .*: .*broken .*{words}"):
        plugins.find("rewards", "missing")
    with pytest.raises(rl.PluginError, match=f"(?s)required plugin 'broken' failed to load: .*{words}"):
        plugins.require(["whole", "broken"])


def test_what_fails_half_way_leaves_nothing_behind() -> None:
    told = []

    @rl.hookimpl
    def rlaif_step_finished(step: int) -> None:
        told.append(step)

    @rl.hookimpl
    def rlaif_rewards() -> list[Any]:
        return [rl.Offer("mine", print), rl.Offer("mine", print)]

    plugins = Plugins()
    with pytest.raises(rl.PluginError, match="'mine' is offered twice"):
        plugins.add(module(rlaif_step_finished=rlaif_step_finished, rlaif_rewards=rlaif_rewards), HERE)
    plugins.tell("rlaif_step_finished", step=1, experience=None, metrics={})
    assert told == []
    assert plugins.listings() == []
    assert plugins.origins == {}


def test_two_offers_of_one_name_name_both_distributions(distribution: Any) -> None:
    distribution("rlaif-one", {"one": "one"}, {"one": HOOKS.format(name="same")})
    distribution("rlaif-two", {"two": "two"}, {"two": HOOKS.format(name="same")}, "2.5")
    plugins = Plugins.load()
    twice = "rewards: 'same' is offered twice: by rlaif-one 1.0 (one) and by rlaif-two 2.5 (two); block one"
    assert twice in str(plugins.failures["two"])
    assert plugins.find("rewards", "same").origin.distribution == "rlaif-one"
    assert offers(Plugins.load(block=["one"]), "rlaif-two") == ["same"]


def test_a_built_in_cannot_be_replaced_in_silence(distribution: Any) -> None:
    for name in ("aardvark", "mine", "zebra"):  # before and behind ours by their names
        distribution(f"rlaif-{name}", {name: name}, {name: HOOKS.format(name="length")})
    plugins = Plugins.load()
    assert set(plugins.failures) == {"aardvark", "mine", "zebra"}
    assert all("by rlaif-core" in str(failure) for failure in plugins.failures.values())


def test_one_name_in_two_distributions_gets_the_distribution_added(distribution: Any) -> None:
    distribution("rlaif-one", {"main": "one"}, {"one": HOOKS.format(name="first")})
    distribution("rlaif-two", {"main": "two"}, {"two": HOOKS.format(name="second")})
    plugins = Plugins.load(block=["main@rlaif-two"])
    assert offers(plugins, "rlaif-one") == ["first"]
    assert offers(plugins, "rlaif-two") == []


def test_an_imported_reward_function_is_not_offered_again(distribution: Any) -> None:
    borrowing = "from rlaif_brevity import brevity\n" + HOOKS.format(name="count")
    distribution("rlaif-brevity", {"brevity": "rlaif_brevity:brevity"}, {"rlaif_brevity": BREVITY})
    distribution("rlaif-next", {"next": "next_plugin"}, {"next_plugin": borrowing})
    plugins = Plugins.load()
    assert not {"brevity", "next"} & set(plugins.failures)
    assert offers(plugins, "rlaif-next") == ["count"]


def test_a_loose_file_is_a_plugin(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(BREVITY)
    plugins = Plugins.load(files=[file])
    sha = hashlib.sha256(file.read_bytes()).hexdigest()
    assert str(plugins.find("rewards", "brevity").origin) == f"{file} file {sha[:12]} (mine)"


LOOSE = {
    "missing.py": (None, rl.PluginError, "missing.py: there is no such file"),
    "notes.txt": ("hello", rl.PluginError, "notes.txt: not a Python file"),
    "broken.py": ("1 / 0", ZeroDivisionError, "division by zero"),
    "builtins.py": (BREVITY, rl.PluginError, "a plugin called 'builtins' is already loaded, from rlaif-core"),
}


@pytest.mark.parametrize("name", LOOSE)
def test_a_loose_file_that_cannot_be_loaded_is_an_error_at_once(tmp_path: Path, name: str) -> None:
    source, error, words = LOOSE[name]
    if source is not None:
        (tmp_path / name).write_text(source)
    with pytest.raises(error, match=words) as caught:
        Plugins.load(files=[tmp_path / name])
    if name == "broken.py":
        assert f"in plugin file {tmp_path / name}" in caught.value.__notes__[0]


def test_a_class_is_no_plugin(distribution: Any) -> None:
    distribution("rlaif-class", {"klass": "klass:Plugin"}, {"klass": "class Plugin: pass"})
    assert "Plugin is a class; name an instance or a module" in str(Plugins.load().failures["klass"])


def test_a_single_offer_may_be_returned_as_it_is() -> None:
    @rl.hookimpl
    def rlaif_credits() -> rl.Offer[Any]:
        return rl.Offer("mine", "nowhere:Mine", "summary")

    plugins = Plugins()
    plugins.add(module(rlaif_credits=rlaif_credits), HERE)
    assert [listing.offer.summary for listing in plugins.listings("credits")] == ["summary"]
