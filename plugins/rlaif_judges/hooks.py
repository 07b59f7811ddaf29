"""What judges are offered. Every part is named as text, so that listing them imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rlaif_core.offers import Offer, hookimpl

HERE = "rlaif_judges"


@hookimpl
def rlaif_judges() -> Iterator[Offer[Any]]:
    yield from ()
