"""How a judge spends: where its replies are kept, how much it may ask for, and what happens when that is gone.

`Economy` is a group of options that the builders of judges spread into their tables.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from rlaif_core import ConfigError
from rlaif_core.options import OptionGroup

WhenSpent = Literal["stop", "abstain"]
SPENT = "the judge's budget is spent"
"""How the reason of an abstention begins that is none of the judge's: it was not asked."""
ENVIRONMENT = "RLAIF_CACHE"
"""The environment variable that names the file of `cache = "auto"`."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What an account has paid for so far: calls, tokens read and written, and money in the prices' currency."""

    calls: int = 0
    tokens: int = 0
    cost: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Economy(OptionGroup):
    """`cache` is the file in which replies and the ledger of all calls are kept, shared by every run that names it.

    "auto" is `default_file()`; with "" every request is asked, there is no ledger, and there can be no budget.
    `budget_calls`, `budget_tokens` (read and written) and `budget_cost` limit what may be paid for, 0 without limit;
    replies from the cache are free. When a limit is reached what is under way is kept; then "stop" ends the run, which
    may be resumed with a higher limit, and "abstain" leaves the judge without an opinion on the rest. Runs that name
    the same `account` share what it has spent; without a name each run has an account of its own, which it keeps when
    it is resumed.
    """

    cache: str = "auto"
    budget_calls: int = 0
    budget_tokens: int = 0
    budget_cost: float = 0.0
    when_spent: WhenSpent = "stop"
    account: str = ""

    def __post_init__(self) -> None:
        for name, limit in self.limits().items():
            if not math.isfinite(limit) or limit < 0:
                raise ConfigError(f"{name} is {limit}, but must be 0 (no limit) or more")
        if self.when_spent not in get_args(WhenSpent):
            raise ConfigError(f"when_spent is {self.when_spent!r}, but must be 'stop' or 'abstain'")
        if self.account and not (self.account.isprintable() and self.account == self.account.strip()):
            raise ConfigError(f"account is {self.account!r}, but must be a printable name without blanks around it")
        if not self.cache and self.limited:
            limited = next(name for name, limit in self.limits().items() if limit)
            raise ConfigError(
                f"{limited} is counted in the cache's file, so that a resumed run goes on where it was; "
                'with cache = "" there is none: name a file, or drop the limit'
            )

    def limits(self) -> dict[str, float]:
        """{option: limit}, 0 where there is none."""
        return {
            "budget_calls": self.budget_calls,
            "budget_tokens": self.budget_tokens,
            "budget_cost": self.budget_cost,
        }

    @property
    def limited(self) -> bool:
        """Whether there is a budget at all."""
        return any(self.limits().values())

    def exhausted(self, spent: Spent, under_way: int) -> str:
        """The option whose limit leaves no room for another call beside those `under_way`, or ""."""
        used = {"budget_calls": spent.calls + under_way, "budget_tokens": spent.tokens, "budget_cost": spent.cost}
        return next((name for name, limit in self.limits().items() if limit and used[name] >= limit), "")

    def file(self) -> Path | None:
        """The file that `cache` means; None where nothing is kept."""
        if self.cache == "auto":
            return default_file()
        return Path(self.cache).expanduser() if self.cache else None


def default_file() -> Path:
    """$RLAIF_CACHE, or rlaif/judges.sqlite in $XDG_CACHE_HOME or ~/.cache."""
    if named := os.environ.get(ENVIRONMENT, ""):
        return Path(named).expanduser()
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification has relative paths ignored.
    return (home if home.is_absolute() else Path("~/.cache").expanduser()) / "rlaif" / "judges.sqlite"
