"""For plugin authors: a policy and values to test with, and checks that say precisely what breaks the contract.

A plugin's test is one line, `check_reward(my_reward)`. Nothing here needs pytest, a model or a network.
"""

from __future__ import annotations

from rlaif_core.testing.checks import check_action, check_credit, check_judge, check_reward
from rlaif_core.testing.fake import FakeCritic, FakePolicy
from rlaif_core.testing.training import check_optimiser, check_policy
from rlaif_core.testing.values import make_experience, make_feedback, make_rollouts

__all__ = [
    "FakeCritic",
    "FakePolicy",
    "check_action",
    "check_credit",
    "check_judge",
    "check_optimiser",
    "check_policy",
    "check_reward",
    "make_experience",
    "make_feedback",
    "make_rollouts",
]
