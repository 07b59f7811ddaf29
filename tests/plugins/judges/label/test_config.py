from __future__ import annotations

import pytest

from rlaif_core import ConfigError
from rlaif_judges.label.config import LabelConfig

FINE = {"prompts": {"files": "x.jsonl"}, "judges": {"main": {"use": "function", "path": "f.py:f"}}}


def config(label: dict | None = None, **tables) -> LabelConfig:
    return LabelConfig.of({**FINE, "label": {"what": ["scores"], **(label or {})}, **tables}, "l.toml")


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"labels": {}}, r"l.toml: unknown table \[labels\]; did you mean \[label\]"),
        ({"label": {"what": ["scores"], "round": 2}}, r"unknown key 'round' in \[label\]; did you mean 'rounds'"),
        ({"label": {}}, r"\[label\] needs the key 'what'"),
        ({"label": {"what": []}}, r"\[label\] 'what' is wrong"),
        ({"label": {"what": ["score"]}}, "'what.0' is wrong: input should be 'scores'"),
        ({"label": {"what": ["scores", "ranking", "ranking"]}}, "names 'ranking' twice"),
        ({"judges": {}}, r"there is no judge; add a \[judges.NAME\]"),
        ({"answers": {"samples": 2}}, r"samples are drawn from a \[policy\]"),
        ({"answers": {"samples": 2, "columns": "a"}, "policy": {"use": "tiny"}}, "recorded, or drawn"),
        ({"answers": {"temperature": 0}}, "sampling: temperature is 0"),
        ({"label": {"what": ["revisions"]}}, 'need principles; name a file with constitution = "..."'),
        ({"label": {"what": ["critiques"], "constitution": "c.md", "rounds": 2}}, "rounds are those of revisions"),
        ({"gold": {"column": "c", "tie": 0}}, "neither what first nor what second stands for"),
        ({"label": {"what": ["scores"], "tie": 0.5}}, "'tie' is wrong: input should be less than 0.5"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tables: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        LabelConfig.of({**FINE, "label": {"what": ["scores"]}, **tables}, "l.toml")


def test_one_sample_leaves_nothing_to_compare() -> None:
    with pytest.raises(ConfigError, match="draw 2 or more"):
        config({"what": ["preferences"]}, answers={"samples": 1}, policy={"use": "tiny"})
    config({"what": ["scores"]}, answers={"samples": 1}, policy={"use": "tiny"})


def test_its_key_holds_what_labels_depend_on_and_nothing_else() -> None:
    one = config({"rubric": "a"})
    same = config({"rubric": "a", "out": "x", "batch": 7, "max_failed": 0.5, "tie": 0.1}, gold={"column": "c"})
    assert one.key() == same.key()
    assert one.key() != config({"rubric": "b"}).key()
    assert one.key() != config({"rubric": "a", "seed": 1}).key()
    assert "judges.main.path" in one.key()
    treated = {"main": {**FINE["judges"]["main"], "timeout": 5.0, "budget_calls": 9, "cache": ""}}
    assert one.key() == config({"rubric": "a"}, judges=treated).key()


def test_secrets_stay_in_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("PLACE", "secret")
    its = config(judges={"main": {"use": "function", "path": "${PLACE}.py:f"}})
    assert its.expanded().judges["main"].options["path"] == "secret.py:f"
    assert "secret" not in str(its.key())


def test_sampling_is_as_the_table_says() -> None:
    its = config(answers={"samples": 2, "stop": "\n", "top_k": 3, "max_tokens": 5}, policy={"use": "tiny"})
    sampling = its.answers.sampling
    assert (sampling.stop, sampling.top_k, sampling.max_tokens) == (("\n",), 3, 5)
