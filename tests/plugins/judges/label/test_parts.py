from __future__ import annotations

import pytest

from labels import Given, Telling, language, longer, shares
from rlaif_core import ConfigError, PluginError
from rlaif_core.plugins import Origin, Plugins
from rlaif_judges.label.config import LabelConfig
from rlaif_judges.label.parts import built, check_able, chosen


@pytest.fixture
def plugins() -> Plugins:
    loaded = Plugins.load()
    loaded.add(Given({"mine": Telling(longer), "writer": language(shares)[0]}), Origin("given", "tests", "0"))
    return loaded


def config(judges: dict, label: dict | None = None, **tables) -> LabelConfig:
    return LabelConfig.of({"prompts": {}, "judges": judges, "label": {"what": ["scores"], **(label or {})}, **tables})


MINE = {"use": "mine"}


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        (({"a": {"use": "nobody"}},), PluginError, "no plugin offers 'nobody' under judges"),
        (({"a": {**MINE, "x": 1}},), ConfigError, "unknown option 'x'"),
        (({"a": MINE}, {"judges": ["b"]}), ConfigError, r"names 'b', but there is no \[judges.b\]"),
        (({"a": MINE}, {"judges": ["a", "a"]}), ConfigError, "names 'a' twice"),
        (({"a": MINE, "b": MINE}, {"judges": ["a"]}), ConfigError, r"\[judges.b\] is asked by nobody"),
        (({"a": {"use": "policy"}},), ConfigError, r"but there is no \[policy\]"),
        (({"a": {"use": "ensemble", "judges": ["a"]}},), ConfigError, "in a circle"),
        (
            ({"a": {"use": "function", "path": "f.py:f"}}, {"what": ["revisions"], "constitution": "c.md"}),
            ConfigError,
            r"judge 'a' \(FunctionJudge\) writes no texts",
        ),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_built(plugins, given, error, told) -> None:
    with pytest.raises(error, match=told):
        chosen(config(*given), plugins)


def test_an_option_of_the_policy_is_checked_too(plugins) -> None:
    with pytest.raises(ConfigError, match="unknown option 'size'"):
        chosen(config({"a": MINE}, policy={"use": "tiny", "size": 3}), plugins)


def test_who_labels_are_those_that_nobody_else_asks(plugins) -> None:
    both = {"use": "ensemble", "judges": ["a", "b"]}
    assert chosen(config({"both": both, "a": MINE, "b": MINE, "c": MINE}), plugins) == ["both", "c"]
    names = ["a", "both"]
    assert chosen(config({"both": both, "a": MINE, "b": MINE}, {"judges": names}), plugins) == names


def test_judges_that_ask_judges_and_the_policy_are_built(plugins) -> None:
    tables = {"a": MINE, "b": {"use": "policy"}, "both": {"use": "ensemble", "judges": ["a", "b"]}}
    judges, policy = built(config(tables, policy={"use": "tiny"}), plugins)
    assert set(judges) == set(tables)
    assert policy.hidden_size > 0


def test_a_policy_that_nobody_needs_is_not_loaded(plugins) -> None:
    its = config({"a": MINE}, policy={"use": "transformers", "model": "nowhere"})
    assert built(its, plugins)[1] is None


def test_who_writes_is_looked_at_once_more_when_built(plugins) -> None:
    its = config({"a": MINE, "w": {"use": "writer"}}, {"what": ["revisions"], "constitution": "c.md"})
    judges, _ = built(its, plugins)
    check_able(its, {"w": judges["w"]}, 2)
    with pytest.raises(ConfigError, match=r"judge 'a' \(Telling\) writes no texts"):
        check_able(its, judges, 2)


def test_more_answers_than_letters_are_not_ranked_by_a_language_model(label) -> None:
    judge, backend = language(shares)
    with pytest.raises(ConfigError, match="ranks at most 26 answers at once, but a prompt has 27"):
        label({"main": judge}, ["scores", "ranking"], [{"prompt": "?", "answers": [f"{n}" for n in range(27)]}])
    assert not backend.asked
