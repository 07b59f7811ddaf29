from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest

from rlaif_core import Abstain, ConfigError, DataError, Failed, FeedbackError, PluginError, Score
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.metric import Metric

ROLLOUTS = make_rollouts([("it is red", "yes"), ("yes", "red")], meta={"target": "it is red"})

CODE = """
from pathlib import Path
import datasets, evaluate

class Share(evaluate.Metric):
    def __init__(self, factor=1.0, **options):
        super().__init__(keep_in_memory=True, cache_dir=str(Path(__file__).parent), **options)
        self.factor = factor

    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
        return evaluate.MetricInfo(description="words found", citation="", features=features)

    def _compute(self, predictions, references, digits=3):
        found = [len({*p.split()} & {*r.split()}) / len({*r.split()}) for p, r in zip(predictions, references)]
        return {"share": self.factor * round(sum(found) / len(found), digits), "shares": found, "name": "share"}

class Empty:
    pass
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("metric") / "my_metrics.py"
    path.write_text(CODE)
    return path


class Fixed:
    """A metric that computes what it is told to."""

    def __init__(self, found: Any) -> None:
        self.found = found

    def compute(self, *, predictions: list[str], references: list[Any]) -> Any:
        return self.found


def values(source: Metric) -> list[Any]:
    return [getattr(outcome, "value", type(outcome)) for outcome in source.score(ROLLOUTS)]


def test_keeps_the_contract() -> None:
    class Found:
        def compute(self, *, predictions: list[str], references: list[Any]) -> dict[str, float]:
            return {"found": float(references[0] in predictions[0])}

    check_reward(Metric(Found(), "found", "target"), meta={"target": "red"})


def test_a_metric_of_evaluate_is_asked_about_each_answer_by_itself(file: Path) -> None:
    source = Metric(f"{file}:Share", "share", "target")
    assert source.score(ROLLOUTS) == [
        Score(1.0, "share is 1"),
        Score(0.0, "share is 0"),
        Score(0.0, "share is 0"),
        Score(0.333, "share is 0.333"),
    ]


def test_options_build_the_metric_and_are_passed_to_it(file: Path) -> None:
    source = Metric(f"{file}:Share", "share", "target", build={"factor": 2.0}, options={"digits": 1})
    assert values(source) == [2.0, 0.0, 0.0, 0.6]


def test_a_list_of_one_number_is_that_number(file: Path) -> None:
    assert values(Metric(f"{file}:Share", "shares", "target")) == pytest.approx([1.0, 0.0, 0.0, 1 / 3])


def test_an_object_is_a_metric_as_well() -> None:
    assert values(Metric(Fixed({"f1": 0.25}), "f1", "target")) == [0.25] * 4


def test_no_reference_no_opinion() -> None:
    rollouts = make_rollouts(["yes"], meta={"target": None})
    assert Metric(Fixed({"f1": 0.25}), "f1", "target").score(rollouts) == [Abstain("its 'target' is empty")]


def test_what_is_not_finite_has_failed() -> None:
    assert Metric(Fixed({"f1": math.nan}), "f1", "target").score(ROLLOUTS)[0] == Failed("f1 is nan")


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataError, match=r"no column 'targe'; did you mean 'target'.*prompt: target") as error:
        Metric(Fixed({"f1": 0.25}), "f1", "targe").score(ROLLOUTS)
    assert "metric 'Fixed', answer 0, to prompt 'prompt-0'" in "\n".join(error.value.__notes__)


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        ({"rouge1": 1.0}, "compute returned no 'rouge'; did you mean 'rouge1'"),
        (0.5, "compute returned a float, but must return a dict"),
        ({"rouge": [1.0, 2.0]}, "'rouge' is a list, but must be a number"),
        ({"rouge": "high"}, "'rouge' is a str, but must be a number"),
    ],
)
def test_what_holds_no_number_is_refused(found: Any, complaint: str) -> None:
    with pytest.raises(FeedbackError, match=complaint):
        Metric(Fixed(found), "rouge", "target").score(ROLLOUTS)


def test_what_is_no_metric_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match="built a Empty, which has no compute"):
        Metric(f"{file}:Empty", "f1", "target")
    with pytest.raises(PluginError, match="no function 'Shar'; did you mean 'Share'"):
        Metric(f"{file}:Shar", "f1", "target")


def test_hanging_is_interrupted_and_named() -> None:
    class Slow(Fixed):
        def compute(self, *, predictions: list[str], references: list[Any]) -> Any:
            time.sleep(30)

    with pytest.raises(FeedbackError, match="took longer than 1 s"):
        Metric(Slow({}), "f1", "target", timeout=1).score(ROLLOUTS)
