"""Large pages for what is large: that they are asked for, and nothing else changes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import rlaif_kernels as rk
from rlaif_kernels import fresh, native

pytestmark = pytest.mark.native
SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def mapped(address: int) -> str:
    """What the system says of the piece of memory in which an address lies."""
    said = ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if bounds := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(bounds[1], 16) <= address < int(bounds[2], 16)
            said = "" if inside else said
            found = inside
        elif found:
            said += line + "\n"
            if line.startswith("VmFlags"):
                return said
    raise AssertionError(f"{address:x} is nowhere")


@pytest.mark.skipif(not SETTING.exists() or "[never]" in SETTING.read_text(), reason="no large pages here")
def test_a_large_gradient_lies_in_large_pages() -> None:
    logits = torch.randn(64, 150_000, requires_grad=True)
    rk.token_logprobs(logits, torch.zeros(64, dtype=torch.int64), impl="native").sum().backward()
    assert logits.grad is not None
    flags = mapped(logits.grad.data_ptr() + logits.grad.nbytes // 2)
    assert re.search(r"VmFlags:.* hg", flags), flags
    untouched = torch.randn(64, 150_000)
    if "[madvise]" in SETTING.read_text():
        assert not re.search(r"VmFlags:.* hg", mapped(untouched.data_ptr() + untouched.nbytes // 2))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sizes: list[int] = []
    monkeypatch.setattr(native.binary, "ask_large_pages", lambda _, count: sizes.append(count))
    return sizes


def test_small_ones_and_those_elsewhere_are_left_alone(asked: list[int]) -> None:
    many = fresh.LARGE // 4
    assert fresh.empty(many - 1).shape == (many - 1,)
    assert fresh.like(torch.empty(many, device="meta")).is_meta
    assert asked == []
    assert fresh.empty(2, many // 2).shape == (2, many // 2)
    narrow = fresh.like(torch.empty(1).expand(2 * many), torch.bfloat16)
    assert (narrow.dtype, narrow.is_contiguous()) == (torch.bfloat16, True)
    assert asked == [fresh.LARGE] * 2
    numbers = torch.randn(4, 5).T
    assert fresh.cast(numbers, torch.float32) is numbers
    assert torch.equal(fresh.cast(numbers, torch.bfloat16), numbers.bfloat16())


def test_without_the_binary_nothing_is_asked(asked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "missing", "absent")
    assert fresh.empty(fresh.LARGE // 4).numel() == fresh.LARGE // 4
    assert asked == []


def test_asking_for_pages_of_a_few_bytes_does_nothing() -> None:
    some = torch.arange(1000)
    native.binary.ask_large_pages(some.data_ptr(), some.nbytes)
    assert torch.equal(some, torch.arange(1000))
