from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import DataError
from rlaif_core.fusing import Fusion, Weight, evidence

TWO = Fusion(weights={"a": Weight(kind="vote", slope=math.log(4)), "b": Weight(slope=0.5)}, method="by hand")
SAID = st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from([0.0, 0.5, 1.0]) | st.none())


def test_evidence_adds_up_in_log_odds() -> None:
    assert TWO.probability({"a": 1.0}) == pytest.approx(0.8)  # odds of 4 to 1
    assert TWO.probability({"a": 1.0, "b": 0.2}) == pytest.approx(4 * 0.5 / (1 + 4 * 0.5))  # (1 / 4) ** 0.5
    assert TWO.probability({"a": 0.5}) == 0.5


def test_silence_is_no_opinion_and_no_number() -> None:
    assert TWO.probability({}) is None
    assert TWO.probability({"a": None, "b": None}) is None
    assert TWO.probability({"a": 1.0, "b": None}) == TWO.probability({"a": 1.0})


@given(SAID)
def test_exchanging_the_answers_turns_the_probability(said: dict[str, float | None]) -> None:
    turned = {name: None if value is None else 1 - value for name, value in said.items()}
    found, other = TWO.probability(said), TWO.probability(turned)
    assert (found is None) == (other is None)
    if found is not None and other is not None:
        assert found + other == pytest.approx(1)


def test_place_length_features_and_constants_count() -> None:
    weight = Weight(kind="score", slope=1.0, offset=0.25, position=-0.5, length=2.0, scale=2.0)
    fusion = Fusion(weights={"s": weight}, features=(1.0, -1.0), constant=0.125)
    odds = 3.0 / 2 + 0.25 - 0.5 * -1 + 2.0 * 0.1 + 0.3 - 0.7 + 0.125
    found = fusion.probability({"s": 3.0}, positions={"s": -1}, length=0.1, features=[0.3, 0.7])
    assert found == pytest.approx(1 / (1 + math.exp(-odds)))
    assert fusion.probability({}, features=[0.0, 0.0]) == pytest.approx(1 / (1 + math.exp(-0.125)))


def test_no_single_word_is_taken_for_certain() -> None:
    assert evidence("probability", [0.0, 0.01, 1.0]).tolist() == pytest.approx([-4.595, -4.595, 4.595], abs=1e-3)
    assert evidence("score", [1e30, -1e30]).tolist() == pytest.approx([4.595, -4.595], abs=1e-3)
    assert evidence("vote", [0, 0.5, 1]).tolist() == [-1, 0, 1]


def test_survives_json_and_a_file(tmp_path: Path) -> None:
    fusion = Fusion(
        weights={"ä\ud800": Weight(kind="vote"), "b": Weight(scale=3)}, features=(0.5,), constant=1.0, notes=("so",)
    )
    assert Fusion.of_json(fusion.to_json()) == fusion
    fusion.save(tmp_path / "fusion.json")
    assert Fusion.load(tmp_path / "fusion.json") == fusion


@pytest.mark.parametrize("said", [{"a": math.nan}, {"a": 2.0}, {"b": -0.1}, {"c": 0.5}])
def test_what_no_source_can_say_is_refused(said: dict[str, float]) -> None:
    with pytest.raises(DataError):
        TWO.probability(said)


def test_unknown_source_is_suggested_for() -> None:
    fusion = Fusion(weights={"judge": Weight()})
    with pytest.raises(DataError, match="no source 'juge' was fitted; did you mean 'judge'"):
        fusion.probability({"juge": 0.5})
    with pytest.raises(DataError, match="1 features"):
        fusion.probability({"judge": 0.5}, features=[1.0])


def changed(**fields: Any) -> str:
    return json.dumps(json.loads(TWO.to_json()) | fields)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", changed(format=2), changed(extra=1), changed(weights={"a": {"slope": "1"}}),
        changed(weights={"a": {"slope": math.nan}}), changed(weights={"a": {"kind": "guess"}}),
        changed(weights={"a": {"scale": 0}}), changed(constant=math.inf), changed(weights=[1]),
    ],
)  # fmt: skip
def test_text_that_is_no_fusion_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        Fusion.of_json(text)


def test_file_that_is_missing_or_binary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        Fusion.load(tmp_path / "none.json")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        Fusion.load(tmp_path / "bytes")
