"""For plugin authors: a policy and values to test with, and checks that say precisely what breaks the contract.

A plugin's test is one line, `check_reward(my_reward)`. Nothing here needs pytest, a model or a network.
"""

from __future__ import annotations

from rlaif_core.testing.actions import check_action
from rlaif_core.testing.credits import check_credit
from rlaif_core.testing.fake import FakeCritic, FakePolicy
from rlaif_core.testing.judges import check_judge
from rlaif_core.testing.observers import check_observer
from rlaif_core.testing.optimisers import check_optimiser
from rlaif_core.testing.policies import check_policy
from rlaif_core.testing.rewards import check_reward
from rlaif_core.testing.values import make_experience, make_feedback, make_rollouts

__all__ = [
    "FakeCritic",
    "FakePolicy",
    "check_action",
    "check_credit",
    "check_judge",
    "check_observer",
    "check_optimiser",
    "check_policy",
    "check_reward",
    "make_experience",
    "make_feedback",
    "make_rollouts",
]
