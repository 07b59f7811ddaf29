"""A real server of a real, if small, model, for all that asks servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import serving


@pytest.fixture(scope="session")
def tiny_chat(real_data: Path) -> Path:
    return real_data / "models" / "tiny-chat"


@pytest.fixture(scope="session")
def real_server(tiny_chat: Path) -> Iterator[str]:
    """The address of `transformers serve` with tiny-chat; skips where it cannot be."""
    if why := serving.lacking(tiny_chat):
        pytest.skip(why)
    with serving.served(tiny_chat) as url:
        yield url
