"""Two clocks: time that passes only as it is slept, and a real one that hardly waits."""

from __future__ import annotations

import asyncio

import pytest

from rlaif_judges.backends.patience import Clock
from virtual import Virtual


@pytest.fixture
def virtual() -> Virtual:
    return Virtual()


@pytest.fixture
def hasty() -> Clock:
    """Real time, but waits are short."""
    return Clock(sleep=lambda seconds: asyncio.sleep(min(seconds, 0.002)))
