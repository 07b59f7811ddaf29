"""A budget of KL to where the policy began: what is spent on early stopping in the place of a penalty.

A penalty and stopping early reach the same reward for the same KL (Gao, Schulman and Hilton 2022), and of the two a
budget is easier to choose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from rlaif_core import ConfigError, Experience, Stop
from rlaif_core.protocols import State


class KlBudget:
    """Ends the run in good order once the median of the optimiser's metric `kl` (nats an answer) over `window` steps is
    above `budget`; kl_budget/spent is the share of it that is spent (1: all). The median, for a single answer can make
    the estimate of a step many times what it should be.

    The KL is known when a step is done, so that the run ends before the next. An optimiser that reports none is an
    error.
    """

    def __init__(self, budget: float, window: int = 3) -> None:
        if not 0 < budget < math.inf or window < 1:
            raise ConfigError(f"kl_budget: budget is {budget:g}, window {window}; both must be above 0, budget finite")
        self._budget, self._window = budget, window
        self._recent: list[float] = []

    def observe(self, step: int, experience: Experience) -> Mapping[str, float]:
        if not self._recent:
            return {}
        middle = median(self._recent)
        if len(self._recent) == self._window and middle > self._budget:
            raise Stop(f"the KL to the reference, {middle:.3g} nats an answer, is above the budget of {self._budget:g}")
        return {"kl_budget/spent": middle / self._budget}

    def told(self, step: int, metrics: Mapping[str, float]) -> None:
        if "kl" in metrics:
            self._recent = [*self._recent, metrics["kl"]][-self._window :]
        elif metrics["counted"] > 0:  # where nothing counts the optimiser is not asked
            raise ConfigError(
                "kl_budget: the optimiser reports no metric 'kl'; give it a weight for the KL (kl = 1e-9 will do), "
                "or drop the budget"
            )

    def state_dict(self) -> State:
        return {"recent": list(self._recent)}

    def load_state_dict(self, state: State) -> None:
        recent: Sequence[float] = state["recent"]
        self._recent = list(recent)
