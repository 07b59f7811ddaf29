"""The benchmark's own honesty: what is timed is right, what is wrong is refused, and the arithmetic adds up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import here
import rlaif_kernels as rk
from rlaif_kernels.bench import Limits, Row, Work, matrix, measure_limits, measured, operations, runner
from rlaif_kernels.bench.__main__ import main
from rlaif_kernels.bench.case import PHASES, Absent, Case, Contestant, Inputs, installed, named
from rlaif_kernels.bench.cases import linear, logprobs, losses, scans
from rlaif_kernels.bench.measure import LEAST as SAMPLES
from rlaif_kernels.bench.measure import measure, peak_bytes, quantile

CPU = torch.device("cpu")
LEAST = SAMPLES["cpu"]
LIMITS = Limits("made up", 1, copy=4e9, read=1e9, products={"float32": 1e10})
SMALL = {
    "token_logprobs": logprobs.case(3, 17, torch.float32, entropy=True),
    "token_logprobs, some ignored": logprobs.case(10, 17, torch.float32, entropy=True, ignored=0.3),
    "token_logprobs bf16": logprobs.case(3, 17, torch.bfloat16, entropy=False),
    "linear_logprobs": linear.logprobs(5, 8, 23, torch.float32),
    "linear_policy_loss": linear.policy_loss(2, 4, 8, 23, torch.float32),
    "linear_policy_loss, some without advantage": linear.policy_loss(4, 4, 8, 23, torch.float32, idle=0.5),
    "kept_logprobs": linear.kept(3, 8, 23, 4, torch.float32),
    "gae": scans.gae(3, 9),
    "gae with holes": scans.gae(3, 9, holes=True),
    "discounted_returns": scans.discounted(3, 9, ends=False),
    "discounted_returns with ends": scans.discounted(3, 9, ends=True),
    "vtrace": scans.vtrace(3, 9),
    "policy_loss": losses.loss(3, 9),
    "policy_loss, dual": losses.loss(3, 9, dual=True),
    "masked_whiten": losses.whiten(30, 90),
    "group_normalise": losses.group(24, 8),
    "group_normalise, unbiased": losses.group(24, 8, unbiased=True),
    "attention_column": losses.attention(2, 4, 9, 8, 2),
}
SMALL = {name: case.light() for name, case in SMALL.items()}


def contest(peer: Contestant, case: Case = SMALL["token_logprobs"]) -> list[Row]:
    """The rows of a peer."""
    rows = measured(replace(case, peers=(peer,)), CPU, LIMITS, budget=0)
    return [row for row in rows if row.impl == peer.name]


def altered(change: Callable[[Any], Any], **options: Any) -> Contestant:
    """A peer that gives the definition's log-probs and entropies, changed."""

    def prepare(inputs: Inputs) -> Callable[[], Any]:
        return lambda: change(rk.token_logprobs(**inputs, impl="torch"))

    return Contestant("peer", prepare, **options)


@pytest.mark.parametrize("name", SMALL)
def test_everyone_who_is_here_agrees_with_the_definition(name: str) -> None:
    case = SMALL[name]
    rows = measured(case, CPU, LIMITS, budget=0)
    assert not [(row.impl, row.phase, row.note) for row in rows if row.status in ("wrong", "failed")]
    timed = [row for row in rows if row.status == "measured"]
    assert {row.impl for row in timed} >= {f"rlaif {impl}" for impl in here.implementations(case.op)}
    assert {row.phase for row in timed if row.ours} == set(case.work)
    assert all(row.error is not None and row.error <= case.bound and row.ms for row in timed)


@pytest.mark.parametrize(
    "change",
    [
        lambda said: (said[0] + 0.1, said[1]),
        lambda said: (said[0] * torch.nan, said[1]),
        lambda said: (said[0], said[1][:-1]),
    ],
)
def test_a_wrong_answer_is_refused_and_not_timed(change: Callable[[Any], Any]) -> None:
    (row,) = contest(altered(change, phases=("forward",)))
    assert (row.status, row.ms, row.ratio) == ("wrong", None, None)


def test_a_wrong_gradient_is_refused_though_the_answer_is_right() -> None:
    rows = contest(altered(lambda said: (said[0].detach() + 2 * (said[0] - said[0].detach()), said[1])))
    assert {row.phase: row.status for row in rows} == {"forward": "measured", "backward": "wrong", "both": "wrong"}


def test_an_answer_left_out_is_no_answer_where_there_is_a_gradient() -> None:
    rows = contest(altered(lambda said: said[0]))
    assert {row.phase: row.status for row in rows} == {"forward": "measured", "backward": "wrong", "both": "wrong"}


def test_a_peer_that_raises_or_is_not_there_stops_nobody() -> None:
    def gone(_: Inputs) -> Callable[[], Any]:
        installed("no_such_project.functions")
        raise AssertionError

    def broken(_: Inputs) -> Callable[[], Any]:
        raise OSError("no such device\nat all")

    peers = (Contestant("gone", gone), Contestant("broken", broken), altered(lambda said: said, phases=("forward",)))
    rows = measured(replace(SMALL["token_logprobs"], peers=peers), CPU, LIMITS, budget=0)
    found = {row.impl: (row.status, row.note) for row in rows if not row.ours}
    assert found["gone"] == ("absent", "not installed")
    assert found["broken"] == ("failed", "OSError: no such device")
    assert found["peer"] == ("measured", "")


def test_a_definition_that_does_not_fit_the_memory_ends_its_case_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(runner.Truth, "of", full)
    (row,) = measured(SMALL["gae"], CPU, LIMITS, budget=0)
    assert (row.impl, row.status, row.ms) == ("definition", "absent", None)
    assert "float64 does not fit" in row.note


def test_a_module_that_is_there_and_lacks_something_is_told_from_one_that_is_not(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "heavy_peer.py").write_text("import no_such_dependency")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Absent, match="not importable: No module named 'no_such_dependency'"):
        installed("heavy_peer")


def test_inputs_that_a_call_overwrites_are_put_back_before_every_sample() -> None:
    seen: list[float] = []

    def prepare(inputs: Inputs) -> Callable[[], Any]:
        def call() -> Any:
            said = rk.token_logprobs(**inputs, impl="torch")
            seen.append(float(inputs["logits"].detach().sum()))
            inputs["logits"].data.zero_()
            return said

        return call

    rows = contest(Contestant("peer", prepare, phases=("forward",), spoils=("logits",)))
    assert [row.status for row in rows] == ["measured"]
    assert len(seen) > LEAST
    assert len(set(seen)) == 1
    assert seen[0] != 0


def test_a_row_is_the_work_over_the_time_and_the_limit() -> None:
    case = replace(SMALL["gae"], work={"forward": Work(2e6, 2e6, 0, 8e6)}, peers=(), own=())
    row = next(row for row in measured(case, CPU, LIMITS, budget=0) if row.status == "measured")
    assert row.ms is not None
    assert row.rate == pytest.approx(4e6 / (row.ms / 1e3) / 1e9)
    assert row.unit == "GB/s"
    assert row.fraction == pytest.approx(1.0 / row.ms)  # 4 MB at 4 GB/s take a millisecond
    assert row.gflops == pytest.approx(2 * row.rate)
    assert row.intensity == 2


def test_ratios_are_to_the_best_of_ours_in_the_same_pass() -> None:
    rows = measured(SMALL["token_logprobs"], CPU, LIMITS, budget=0)
    best = {phase: next(row.ms for row in rows if row.ours and row.ms and row.phase == phase) for phase in PHASES}
    assert all(row.ratio == row.ms / best[row.phase] for row in rows if row.ms)
    assert next(row.ratio for row in rows if row.status == "measured") == 1


@pytest.mark.parametrize("recorded", [False, True])
def test_a_forward_pass_records_what_a_gradient_needs_where_it_is_wanted(recorded: bool) -> None:
    seen: set[bool] = set()

    def prepare(inputs: Inputs) -> Any:
        def call() -> Any:
            said = rk.token_logprobs(**inputs)
            seen.add(said[0].requires_grad)
            return said

        return call

    case = replace(SMALL["token_logprobs"], own=(), peers=[Contestant("looking", prepare)], recorded=recorded)
    measured(replace(case, work={"forward": case.work["forward"]}), CPU, LIMITS, budget=0)
    assert seen == {recorded}


def test_a_limit_is_the_longer_of_moving_and_computing() -> None:
    assert LIMITS.seconds(Work(1e9), "float32") == 1
    assert LIMITS.seconds(Work(2e9, 2e9), "float32") == 1
    assert LIMITS.seconds(Work(1e9, 0, 2e10), "float32") == 2
    assert LIMITS.seconds(Work(1e9, 0, 2e10), "float64") == 1  # no limit of products is known
    assert LIMITS.bound(Work(1e9, 0, 2e10), "float32") == "compute"
    assert LIMITS.bound(Work(1e9, 0, 5e9), "float32") == "memory"


def test_the_limits_of_a_machine_are_positive_rates_of_both_dtypes() -> None:
    limits = measure_limits(CPU, quick=True, size=1 << 16)
    assert limits.threads == torch.get_num_threads()
    assert min(limits.copy, limits.read, *limits.products.values()) > 0
    assert set(limits.products) == {"float32", "bfloat16"}
    told = Path("/proc/cpuinfo")
    if told.exists() and "cpu MHz" in told.read_text():
        assert limits.mhz is not None
        assert limits.mhz > 0


def test_quantiles_lie_between_the_samples() -> None:
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile([0, 10], 0.2) == 2
    assert quantile([7], 0.8) == 7


def test_the_setup_goes_before_every_sample_and_is_handed_to_the_call() -> None:
    made: list[int] = []
    used: list[int] = []

    def setup() -> int:
        made.append(len(made))
        return made[-1]

    its = measure(used.append, setup=setup, budget=0)
    assert its.samples == LEAST
    assert used == made
    assert 0 <= its.least <= its.p20 <= its.median <= its.p80


def test_short_calls_are_repeated_within_a_sample() -> None:
    calls: list[None] = []
    measure(calls.append, budget=0)
    assert len(calls) > 100 * LEAST


def test_the_peak_is_what_is_held_at_once() -> None:
    def call(size: int) -> None:
        one = torch.empty(size)
        two = torch.empty(size)
        del one, two
        torch.empty(size)

    peak = peak_bytes(call, 1 << 18, CPU)
    assert 2 << 20 <= peak < (2 << 20) + 4096


def test_the_matrix_can_be_narrowed_and_an_unknown_operation_is_an_error() -> None:
    every, quick = matrix(), matrix(quick=True)
    assert set(operations()) == {case.op for case in every}
    assert 0 < len(quick) < len(every) < len(matrix(large=True))
    compiling = [peer.name for case in every for peer in case.peers if peer.compiles]
    assert compiling
    assert not [peer.name for case in quick for peer in case.peers if peer.compiles]
    assert {case.op for case in matrix(["gae"])} == {"gae"}
    with pytest.raises(ValueError, match="no benchmark of gea; there are attention_column,"):
        matrix(["gae", "gea"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--op", "gea"], "invalid choice: 'gea'"),
        (["--device", "tpu"], "no device 'tpu' to measure on here; there is cpu"),
        (["--threads", "0"], "--threads must be at least 1, got 0"),
        (["--op", "gae", "--case", "64x1023"], "no case has '64x1023' in its name"),
    ],
)
def test_what_cannot_be_measured_is_said(given: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(given)
    assert message in capsys.readouterr().err


def test_every_case_has_its_own_name_and_work_for_its_passes() -> None:
    every = matrix(large=True)
    assert len({(case.op, case.label, case.dtype, case.quick) for case in every}) == len(every)
    for case in every:
        assert set(case.work) <= set(PHASES)
        assert case.leaves or set(case.work) == {"forward"}
        assert all(work.moved > 0 and work.operations > 0 for work in case.work.values())


def test_what_is_masked_or_has_no_gradient_is_not_counted_as_work() -> None:
    """A share of the limit must not be flattered by products that nobody needs."""
    case = linear.policy_loss(50, 40, 8, 23, torch.float32, idle=0.5)
    given = case.make(CPU)
    whole, asked = 2.0 * 50 * 40 * 8 * 23, float(given["mask"].double().mean())
    moving = float((given["mask"] & (given["advantages"] != 0)).double().mean())
    assert case.work["both"].flops == pytest.approx(whole * (asked + 2 * moving), rel=0.05)
    some = logprobs.case(10, 17, torch.float32, entropy=False, ignored=0.3)
    assert int((some.make(CPU)["targets"] == -100).sum()) == 3
    assert (some.work["forward"].read, some.work["backward"].written) == (7 * 17 * 4, 10 * 17 * 4)


def test_answers_are_named_in_order_and_the_rest_left_out() -> None:
    one, two = torch.ones(1), torch.zeros(1)
    assert named("logp")(one) == {"logp": one}
    assert list(named("loss")((one, two))) == ["loss"]
    assert list(named("a", "b")([one, two])) == ["a", "b"]
    assert partial(named("a"), (one,))() == {"a": one}
