"""An explicit choice works or raises; "auto" chooses, unless the environment requires what is not there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import here
import rlaif_kernels as rk
from rlaif_kernels import dispatch, native, reference, scans

FLAGS = torch.ones(1, 3, dtype=torch.bool)
INPUTS = (torch.zeros(1, 3), torch.zeros(1, 3), FLAGS)
REASON = "the compiled module is not part of this installation (No module named '_native')"


@pytest.fixture
def _pure_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "missing", REASON)
    monkeypatch.setattr(dispatch, "REQUIRED", "")
    monkeypatch.setattr(dispatch, "quick", lambda topic: None)
    monkeypatch.setattr(scans, "quick", lambda topic: None)


@pytest.mark.native
def test_auto_takes_the_fastest_that_can_run() -> None:
    assert here.implementations("gae") == ["native", "torch"]
    assert dispatch.choose("gae", "auto", INPUTS).__module__ == "rlaif_kernels.native.scans"


@pytest.mark.native
def test_auto_passes_over_what_cannot_take_these_tensors() -> None:
    assert dispatch.choose("gae", "auto", [x.to("meta") for x in INPUTS]) is reference.gae


@pytest.mark.native
def test_an_explicit_choice_never_falls_back() -> None:
    with pytest.raises(rk.ImplementationError, match=r"impl='native' cannot run: .* on meta; use impl='auto'"):
        rk.gae(*[x.to("meta") for x in INPUTS], impl="native")


@pytest.mark.usefixtures("_pure_python")
def test_without_the_binary_auto_is_torch_and_native_says_what_to_do() -> None:
    assert here.implementations("gae") == ["torch"]
    assert dispatch.choose("gae", "auto", INPUTS) is reference.gae
    with pytest.raises(rk.ImplementationError, match=r"not part of this installation .* with a C\+\+ compiler"):
        rk.gae(*INPUTS, impl="native")
    assert rk.build_info()["native"] == f"absent: {REASON}"


@pytest.mark.usefixtures("_pure_python")
def test_a_required_backend_that_is_absent_stops_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "REQUIRED", "native")
    assert rk.unmet_requirements() == {"native": REASON}
    with pytest.raises(rk.ImplementationError, match=r"RLAIF_REQUIRE asks for 'native': .* unset RLAIF_REQUIRE"):
        rk.gae(*INPUTS)
    rk.gae(*INPUTS, impl="torch")  # asked for by name: nobody is misled


def test_what_cannot_be_required_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "REQUIRED", "torch, nativ")
    assert rk.unmet_requirements() == {"nativ": "no such backend; there are torch, native, cuda, triton"}


@pytest.mark.native
def test_a_required_backend_that_is_there_requires_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "REQUIRED", "native")
    assert rk.unmet_requirements() == {}
    rk.gae(*INPUTS)
    rk.kl_estimate(torch.zeros(2), torch.zeros(2))  # has no native implementation, and need not


@pytest.mark.native
def test_all_but_the_definitions_are_turned_off_in_this_thread_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_once = []
    monkeypatch.setattr(native.binary, "gae_at_once", lambda *_: at_once.append("gae"))
    monkeypatch.setattr(native.binary, "logprobs_at_once", lambda *_: at_once.append("logprobs"))

    def quick() -> set[str]:
        at_once.clear()
        rk.gae(*INPUTS)
        rk.token_logprobs(torch.randn(2, 5), torch.tensor([1, 2]))
        return set(at_once)

    everything = {"gae", "logprobs"}
    assert quick() == everything
    with rk.using("torch"):
        assert dispatch.choose("masked_whiten", "auto", ()) is rk.reference.masked_whiten
        assert quick() == set()
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(quick).result() == everything
        with rk.using("auto"):
            assert quick() == everything
        assert quick() == set()
        graph = torch.compile(rk.token_logprobs, backend="eager", fullgraph=True)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True) as seen:
            graph(torch.randn(2, 5), torch.tensor([1, 2]))
        assert not any(event.key.startswith("rlaif::") for event in seen.key_averages())
    assert quick() == everything
    with pytest.raises(ValueError, match="using: unknown impl 'native'; choose from auto, torch"), rk.using("native"):
        pass


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="gae: unknown impl 'cpp'; choose from auto, torch, native, cuda, triton"):
        rk.gae(*INPUTS, impl="cpp")
    with pytest.raises(ValueError, match="no operation 'gea'; there are attention_column, discounted_returns, gae, "):
        rk.implementations("gea")


def test_an_implementation_that_does_not_exist_says_what_does() -> None:
    with pytest.raises(
        rk.ImplementationError, match="kl_estimate has no 'cuda' implementation; here it runs as: torch"
    ):
        rk.kl_estimate(torch.zeros(2), torch.zeros(2), impl="cuda")


def test_special_cases_run_wherever_the_general_one_does() -> None:
    assert rk.implementations("discounted_returns") == rk.implementations("gae")


def test_every_backend_is_accounted_for() -> None:
    assert list(rk.build_info()) == ["torch", "native", "cuda", "triton"]
    assert rk.build_info()["torch"] == torch.__version__
