"""The list of checks, and how one is carried out."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass

TOPICS = ("policy", "sampling", "feedback", "judges", "losses", "runs")


@dataclass(frozen=True, slots=True)
class Check:
    """One statement about the installation; `number` is that of the trap, `run` returns what it measured or raises."""

    number: int
    title: str
    run: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a check: whether it held, the figure or the complaint, and the seconds it took."""

    check: Check
    held: bool
    said: str
    seconds: float


_checks: list[Check] = []


def check(number: int, title: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Enter a function into the list."""

    def enter(function: Callable[[], str]) -> Callable[[], str]:
        _checks.append(Check(number, title, function))
        return function

    return enter


def every() -> list[Check]:
    """All checks by number; imports torch."""
    for topic in TOPICS:
        importlib.import_module(f"rlaif_builtins.selfcheck.{topic}")
    return sorted(_checks, key=lambda entry: entry.number)


def perform(entry: Check) -> Outcome:
    """Carry out one check; whatever it raises is its failure, not the caller's."""
    began = time.perf_counter()
    try:
        said, held = entry.run(), True
    except Exception as error:  # noqa: BLE001 - a broken installation may raise anything, and the others go on
        said, held = f"{type(error).__name__}: {error}", False
    return Outcome(entry, held, said, time.perf_counter() - began)


def hold(condition: object, complaint: str) -> None:
    """Raise AssertionError(complaint) unless `condition`; unlike assert it also works under python -O."""
    if not bool(condition):
        raise AssertionError(complaint)
