from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from rlaif_core import FeedbackError
from rlaif_core.deadline import each_within


def calls(*values: int) -> list[Callable[[], int]]:
    return [lambda value=value: value for value in values]


@pytest.mark.parametrize("seconds", [0, 5])
def test_results_come_in_order(seconds: float) -> None:
    assert list(each_within(seconds, calls(3, 1, 2))) == [3, 1, 2]
    assert list(each_within(seconds, calls())) == []


@pytest.mark.parametrize("seconds", [0, 5])
def test_what_a_call_raises_comes_out_where_its_result_would(seconds: float) -> None:
    results = each_within(seconds, [*calls(1), lambda: 1 // 0, *calls(2)])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_call_that_hangs_misses_its_deadline_and_later_ones_are_not_made() -> None:
    released, made = threading.Event(), []
    results = each_within(0.5, [*calls(1), lambda: released.wait(30), lambda: made.append("later")])
    assert next(results) == 1
    start = time.monotonic()
    with pytest.raises(FeedbackError, match=r"took longer than 0.5 s; mend it, or raise timeout"):
        next(results)
    assert time.monotonic() - start < 5
    released.set()
    time.sleep(0.05)
    assert made == []


def test_the_deadline_is_for_each_call_not_for_all() -> None:
    assert list(each_within(1, [lambda: time.sleep(0.3) or 1] * 4)) == [1] * 4


def test_the_process_can_exit_while_a_call_hangs() -> None:
    program = (
        "from rlaif_core.deadline import each_within\n"
        "def forever():\n    while True: pass\n"
        "try: list(each_within(0.2, [forever]))\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "FeedbackError"
