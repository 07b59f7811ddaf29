from __future__ import annotations

import tomllib

import pytest

from rlaif_core import ConfigError, Score
from rlaif_core.plugins import Origin, Plugins
from rlaif_core.testing import make_rollouts
from rlaif_rewards import hooks

META = {"reference": "yes", "beliefs": ["yes", "yes", "no"], "ambiguity": [0.5, 0.5], "evidence": "yes"}
TABLES = {
    "calibration": 'words = { "i think" = 0.7 }\nrule = "spherical"\nreference = "reference"\nmissing = -0.5',
    "clarification": "cost = 0.1\ngrades = [1, 4]\npatterns = []",
    "consistency": 'across = "turns"\nentailment = "judge"\nscale = [-2, 2]\njudge = "main"',
    "factuality": 'entailment = "judge"\nrefuted = 1\nunverifiable = 0.5\ngamma = 10\njudge = "main"\nscale = [-2, 2]',
    "ignorance": 'threshold = 0.75\npatterns = ["\\\\bask me later\\\\b"]\ncorrect = "match"',
    "semantic_entropy": 'alike = "exact"\neach = "group"\nweights = "length"\ntake = "last_line"',
    "sincerity": "stable = 0.6\nleast = 2",
    "toxicity": 'judge = "main"\nadded = true\nscale = [-2, 2]',
}


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    found = Plugins()
    found.add(hooks, Origin("rewards", "rlaif-core", "0"))
    return found


def test_every_offer_resolves_and_explains_itself(plugins: Plugins) -> None:
    listings = plugins.listings()
    assert {*TABLES, "expected_maximum"} <= {listing.offer.name for listing in listings}
    for listing in listings:
        assert listing.offer.name in str(listing)
        assert listing.offer.resolve().__doc__, listing
        assert 0 < len(listing.offer.summary) < 80, listing


@pytest.mark.parametrize("name", TABLES)
def test_a_table_builds_it_and_its_judge_is_handed_over(plugins: Plugins, judging, name: str) -> None:
    options = tomllib.loads(TABLES[name])
    objects = {"judge": judging(lambda question: 1.0)} if options.pop("judge", "") else {}
    source = plugins.build("rewards", name, options, objects)
    outcomes = source.score(make_rollouts([("yes", "no")], meta=META))
    assert len(outcomes) == 2
    assert any(isinstance(outcome, Score) for outcome in outcomes) or name == "consistency"  # no turn precedes these


@pytest.mark.parametrize(
    ("name", "table", "complaint"),
    [
        ("ignorance", "thresold = 0.5", "did you mean 'threshold'"),
        ("calibration", 'unit = "per cent"', "option 'unit' is wrong"),
        ("semantic_entropy", 'weights = "tokens"', "option 'weights' is wrong"),
        ("factuality", "gamma = 3", "option 'entailment' is missing"),
        ("consistency", 'alike = "spelling"', "alike is 'spelling'"),
    ],
)
def test_a_table_with_a_mistake_is_refused(plugins: Plugins, name: str, table: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        plugins.build("rewards", name, tomllib.loads(table), {})
