from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from rlaif_core import FeedbackError
from rlaif_core.deadline import each_within
from rlaif_rewards.awaiting import finished


async def doubled(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


def test_what_is_no_coroutine_is_what_it_is() -> None:
    assert finished(3) == 3
    assert finished(None) is None


def test_coroutines_are_awaited_and_their_errors_raised() -> None:
    async def fails() -> None:
        raise KeyError("lost")

    assert finished(doubled(3)) == 6
    with pytest.raises(KeyError, match="lost"):
        finished(fails())


def test_all_run_in_one_loop() -> None:
    async def loop() -> Any:
        return asyncio.get_running_loop()

    assert finished(loop()) is finished(loop())


@pytest.mark.timeout(60, method="thread")  # the alarm is for the deadline
def test_a_missed_deadline_cancels_the_coroutine() -> None:
    cancelled = []

    async def hangs() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(FeedbackError, match="took longer than"):
        next(each_within(0.5, [lambda: finished(hangs())]))
    finished(asyncio.sleep(0.1))
    assert cancelled == [True]


def test_the_process_ends_without_a_word() -> None:
    code = "import asyncio; from rlaif_rewards.awaiting import finished; print(finished(asyncio.sleep(0, 'done')))"
    run = subprocess.run([sys.executable, "-Wdefault", "-c", code], capture_output=True, text=True, timeout=120)
    assert (run.stdout, run.stderr, run.returncode) == ("done\n", "", 0)
