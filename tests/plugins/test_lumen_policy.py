from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from rlaif_core.testing import check_policy
from rlaif_lumen.evaluate import Evaluation, evaluate, sampled
from rlaif_lumen.policy import FOLDER, TinyPolicy
from rlaif_lumen.tokeniser import save_tokeniser

WEIGHTS = FOLDER.parent


@pytest.fixture(scope="module")
def policy() -> TinyPolicy:
    return TinyPolicy()


@pytest.fixture(scope="module")
def found(policy: TinyPolicy) -> Evaluation:
    return evaluate(sampled(policy), count=480, split="train")


def test_all_weights_together_are_small_and_hold_no_code() -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 4_500_000
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".jinja"}
    for path in WEIGHTS.rglob("*.safetensors"):
        with safe_open(path, "pt") as tensors:
            assert {tensors.get_slice(name).get_dtype() for name in tensors.keys()} == {"BF16"}  # noqa: SIM118


def test_the_packaged_tokeniser_is_the_one_that_the_code_makes(tmp_path: Path) -> None:
    save_tokeniser(tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (FOLDER / path.name).read_bytes(), f"{path.name}: run make embedded"


def test_it_is_a_policy_like_any_other(policy: TinyPolicy) -> None:
    check_policy(policy)


def test_it_starts_out_with_the_habits_that_its_recipe_measured(found: Evaluation) -> None:
    reported = json.loads((FOLDER / "report.json").read_text())["measured"]["train"]["measures"]
    for name, margin in {"gold": 0.2, "hallucination": 0.12, "accuracy": 0.15, "quirk": 0.06, "filler": 0.12}.items():
        assert found.measures[name] == pytest.approx(reported[name], abs=margin), name


def test_it_hallucinates_guesses_and_insults_at_known_rates(found: Evaluation) -> None:
    bands = {
        "gold": (-0.3, 0.25),
        "hallucination": (0.4, 0.75),
        "ignorance": (0.05, 0.5),
        "clarification": (0.15, 0.55),
        "toxicity": (0.25, 0.6),
        "persona": (0.5, 0.98),
        "quirk": (0.75, 0.95),
        "filler": (0.25, 0.55),
    }
    for name, (low, high) in bands.items():
        assert low <= found.measures[name] <= high, (name, found.measures[name])


def test_it_knows_what_it_read_often_and_believes_the_myths(found: Evaluation) -> None:
    table = found.by_stratum()
    _, _, common = table["fact/common"]
    _, _, myth = table["fact/myth"]
    assert common["correct"] > 0.6
    assert myth.get("hallucination", 0) > myth.get("correct", 0)


def test_it_parses_as_lumen(found: Evaluation) -> None:
    assert sum(grade.label == "other" for grade in found.grades) < 0.08 * len(found.grades)
