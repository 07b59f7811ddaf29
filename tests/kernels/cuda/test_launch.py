"""How kernels are launched, on the emulator: where, without waiting, and what is said when it goes wrong."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

import rlaif_kernels as rk
from rlaif_kernels import cuda, dispatch

MASK = torch.ones(2, 9, dtype=torch.bool)
CALLS: dict[str, Any] = {
    "gae": lambda: rk.gae(*torch.zeros(2, 2, 9), MASK, impl="cuda"),
    "vtrace": lambda: rk.vtrace(*torch.zeros(3, 2, 9), MASK, impl="cuda"),
    "masked_whiten": lambda: rk.masked_whiten(torch.zeros(2, 9), MASK, impl="cuda"),
    "policy_loss": lambda: rk.policy_loss(*torch.zeros(3, 2, 9), MASK, impl="cuda"),
    "kept_logprobs": lambda: rk.kept_logprobs(
        *torch.zeros(2, 2, 9), torch.zeros(2).long(), torch.zeros(2, 3).long(), impl="cuda"
    ),
    "token_logprobs": lambda: rk.token_logprobs(torch.zeros(2, 9), torch.zeros(2).long(), impl="cuda"),
}


@pytest.mark.parametrize("call", CALLS)
def test_every_launch_goes_to_the_stream_and_device_it_was_given(
    call: str, emulator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "queue", lambda tensor: (3, 0xBEEF))
    emulator.set_device(1)
    CALLS[call]()
    assert emulator.launches() > 0
    for launch in range(emulator.launches()):
        assert (emulator.device_of(launch), emulator.stream_of(launch)) == (3, 0xBEEF)
    assert emulator.device() == 1  # as it was before


@pytest.mark.parametrize(("said", "waits"), [("1", True), ("0", False), (None, False)])
def test_nobody_is_waited_for_unless_asked(
    said: str | None, waits: bool, emulator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RLAIF_CUDA_SYNC", raising=False)
    if said is not None:
        monkeypatch.setenv("RLAIF_CUDA_SYNC", said)
    CALLS["policy_loss"]()
    assert emulator.waits() == (emulator.launches() if waits else 0)


@pytest.mark.usefixtures("emulator")
def test_ids_outside_the_vocabulary_are_named_where_the_device_may_be_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hidden, targets = torch.zeros(2, 4), torch.tensor([-100, 7])
    calls = [
        lambda: rk.token_logprobs(torch.zeros(2, 5), targets, impl="cuda"),
        lambda: rk.linear_logprobs(hidden, torch.zeros(5, 4), targets, impl="cuda"),
    ]
    assert calls[0]().isnan().tolist() == [False, True]
    monkeypatch.setenv("RLAIF_CUDA_SYNC", "1")
    for call in calls:
        with pytest.raises(IndexError, match=r"targets\[1\] is 7, not in a vocabulary of 5"):
            call()
    with pytest.raises(IndexError, match=r"kept\[1, 0\] is 9, not in a vocabulary of 5"):
        rk.kept_logprobs(hidden, torch.zeros(5, 4), torch.zeros(2).long(), torch.tensor([[1], [9]]), impl="cuda")


@pytest.mark.parametrize(("call", "kernel"), [
    ("gae", "scan_rows"), ("masked_whiten", "moments_of_tiles"), ("policy_loss", "loss_of_rows"),
    ("kept_logprobs", "sample_products"), ("token_logprobs", "fold_columns"),
])  # fmt: skip
def test_a_launch_that_fails_is_named(call: str, kernel: str, emulator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "queue", lambda tensor: (3, 0))
    emulator.fail_after(1)
    with pytest.raises(RuntimeError, match=rf"of \[\d+, \d+\], {kernel}: an error that the emulator was asked for"):
        CALLS[call]()
    assert emulator.device() == 0


def test_a_barrier_that_some_threads_miss_is_noticed(emulator: Any) -> None:
    assert emulator.notices_a_missed_barrier()


def test_more_blocks_than_a_grid_holds_are_an_error_and_not_a_wrong_answer(built: Any) -> None:
    logits = (0, 0, (1, 0, 1), 2**31, 1, 0)
    with pytest.raises(ValueError, match=r"fold of \[2147483648, 1\], fold_columns: more blocks than a grid holds"):
        built.binary.fold((0, 0), logits, (0, -100, 0, 1.0, 1.0, 0.0), 0, True, (0, 0, 0, 0), 0)


class Wrapped(Tensor):
    """A subclass whose data need not be where its address says."""


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.empty(1, device="meta"), "got a tensor on meta"),
        (torch.zeros(2, 2).to_sparse(), "needs dense tensors"),
        (torch.zeros(2, dtype=torch.complex64).conj(), "needs dense tensors"),
        (torch.zeros(2, dtype=torch.complex64).conj().imag, "needs dense tensors"),
        (torch.zeros(1).as_subclass(Wrapped), "got Wrapped"),
    ],
    ids=["device", "sparse", "conjugate", "negated", "subclass"],
)
@pytest.mark.usefixtures("emulator")
def test_what_has_no_plain_address_is_refused(tensor: Tensor, reason: str) -> None:
    assert reason in (cuda.refuses([torch.zeros(1), tensor]) or "")


@pytest.mark.usefixtures("emulator")
def test_plain_tensors_and_what_was_left_out_are_accepted() -> None:
    assert cuda.refuses([torch.zeros(1), torch.nn.Parameter(torch.zeros(1)), None]) is None
    with pytest.raises(rk.ImplementationError, match="needs float32, bfloat16 or float16 logits"):
        rk.token_logprobs(torch.zeros(1, 2).double(), torch.zeros(1).long(), impl="cuda")


def test_what_is_on_the_cpu_is_not_for_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "missing", None)
    assert dispatch.choose("gae", "auto", (torch.zeros(1),)).__module__ != "rlaif_kernels.cuda.scans"
    with pytest.raises(rk.ImplementationError, match="runs on CUDA devices and got a tensor on cpu; use impl='auto'"):
        rk.gae(*torch.zeros(2, 2, 9), MASK, impl="cuda")


@pytest.fixture
def unasked() -> Any:
    """The backend as it is before anyone asked whether it is there."""
    kept = {name: vars(cuda).pop(name) for name in ("binary", "missing") if name in vars(cuda)}
    yield cuda
    for name in ("binary", "missing"):
        vars(cuda).pop(name, None)
    vars(cuda).update(kept)


def test_a_binary_that_does_not_load_says_why(unasked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rlaif_kernels._native_cuda", None)  # as if it were not there
    assert "not part of this installation (import of rlaif_kernels._native_cuda halted" in unasked.missing
    assert rk.build_info()["cuda"].startswith("absent: the compiled module is not part of this installation")
    assert "cuda" not in rk.implementations("gae")


def test_a_binary_without_a_device_says_so(unasked: Any, built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rlaif_kernels._native_cuda", built.binary)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    awake = torch.cuda.is_initialized()  # by another test, where there is a device
    assert unasked.missing == f"torch {torch.__version__} sees no CUDA device"
    assert "cuda" not in rk.implementations("gae")
    assert torch.cuda.is_initialized() == awake


def test_with_a_device_it_is_offered_first(unasked: Any, built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rlaif_kernels._native_cuda", built.binary)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert unasked.missing is None
    assert rk.implementations("vtrace")[0] == "cuda"
    assert rk.build_info()["cuda"].startswith("emulated, none")
    assert not hasattr(unasked, "anything_else")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_of_the_emulator_is_that_of_torch(dtype: torch.dtype, built: Any) -> None:
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16)
    wide = torch.empty(len(every))
    brain = dtype == torch.bfloat16
    built.widen(cuda.address(every), cuda.address(wide), len(every), brain)
    torch.testing.assert_close(wide, every.view(dtype).float(), rtol=0, atol=0, equal_nan=True)
    between = (wide + wide.roll(1)) / 2  # ties
    given = torch.cat([wide, between, between * (1 + 2**-20), between * (1 - 2**-20), torch.randn(1000) * 1e-6])
    narrow = torch.empty(len(given), dtype=dtype)
    built.narrow(cuda.address(given), cuda.address(narrow), len(given), brain)
    torch.testing.assert_close(narrow, given.to(dtype), rtol=0, atol=0, equal_nan=True)
