from __future__ import annotations

from pathlib import Path

import pytest

from faulty_server import FaultyServer, scored
from judging import Scripted, ask
from rlaif_core import ConfigError
from rlaif_core.calibration import Platt, Temperature
from rlaif_core.testing import check_judge
from rlaif_judges.backends.server import Server
from rlaif_judges.economy.budget import Economy
from rlaif_judges.hygiene import Hygiene
from rlaif_judges.openai import OpenAIJudge
from rlaif_judges.opening import Accountable, Unaccountable, calibrator_of


def first(request) -> list[float]:
    return [0.9, *[0.1 / (len(request.options) - 1)] * (len(request.options) - 1)]


def test_the_contract_of_a_judge_holds_with_its_memory() -> None:
    check_judge(Accountable(Scripted(first), "it", Hygiene(), Economy()))


def test_a_verdict_is_paid_for_once_and_equal_from_the_cache() -> None:
    backend = Scripted(first, cost=0.25)
    judges = [Accountable(backend, "it", Hygiene(), Economy()) for _ in range(2)]
    one, other = (judge.ask([ask("x", "y"), ask("z", form="score")]) for judge in judges)
    assert one == other
    assert len(backend.asked) == 3
    assert one[0].outcomes[0].cost == 0.25


def test_what_is_not_kept_is_asked_again() -> None:
    backend = Scripted(first)
    judge = Unaccountable(backend, Hygiene())
    assert judge.ask([ask("x", "y")]) == judge.ask([ask("x", "y")])
    assert len(backend.asked) == 4


def test_a_calibration_is_read_from_its_file_and_keeps_comparisons_antisymmetric(tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(Platt(slope=0.5).to_json())
    plain, honest = (
        Accountable(Scripted(first), "it", Hygiene(orders="one", calibration=its), Economy()) for its in ("", str(file))
    )
    (before,), (after,) = plain.ask([ask("x", "y")]), honest.ask([ask("x", "y")])
    assert before.outcomes[0].value == pytest.approx(0.8)
    assert after.outcomes[0].value == pytest.approx(0.5)  # odds 9 become 3
    assert after.outcomes[1].value == -after.outcomes[0].value


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read from"),
        ("{}", "this is no calibrator"),
        (Temperature(2.0).to_json(), "is for logits; fit one for probabilities"),
    ],
)
def test_a_wrong_calibration_is_said(tmp_path: Path, content: str | None, complaint: str) -> None:
    file = tmp_path / "calibration.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=complaint):
        calibrator_of(Hygiene(calibration=str(file)))


def test_a_budget_that_could_never_be_spent_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing it says has a price"):
        Accountable(Scripted(first), "it", Hygiene(), Economy(budget_cost=1.0))
    Accountable(Scripted(first), "it", Hygiene(), Economy(budget_cost=1.0), priced=True)


def test_how_a_server_is_to_be_read_is_found_out_once_for_all_who_share_the_cache(tmp_path: Path) -> None:
    economy = Economy(cache=str(tmp_path / "shared.sqlite"))
    with FaultyServer(lambda seen: scored(dict.fromkeys("AB1234567", 1 / 9))) as server:
        asked = []
        for _ in range(2):
            judge = OpenAIJudge("m", server=Server(base_url=server.url), economy=economy)
            asked.append((judge.ask([ask("x", "y")]), len(server.seen)))
            judge.desk.close()
    assert asked[0] == asked[1]  # the second judge sends nothing at all, not even to find out
    assert asked[0][1] == 3
