"""rlaif: reinforcement learning from AI feedback, as five verbs filled by plugins.

Only light modules are imported here; torch and the rest arrive when a run starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rlaif_core.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    FeedbackError,
    PluginError,
    RlaifError,
    Stop,
    TrainingError,
)
from rlaif_core.feedback import Abstain, Failed, Feedback, Outcome, Question, Score, Scored, Verdict
from rlaif_core.hookspecs import hookspec
from rlaif_core.offers import Offer, hookimpl, reward
from rlaif_core.plugins import Plugins
from rlaif_core.protocols import (
    Action,
    Credit,
    Critic,
    Forward,
    Judge,
    Observer,
    Optimiser,
    Policy,
    RewardSource,
    Sampler,
    Sampling,
)
from rlaif_core.run import resume, run
from rlaif_core.types import Experience, Metrics, Prompt, Rollouts

if TYPE_CHECKING:
    from rlaif_core.config import RunConfig

__version__ = "0.1.0"

__all__ = [
    "Abstain",
    "Action",
    "CheckpointError",
    "ConfigError",
    "Credit",
    "Critic",
    "DataError",
    "Experience",
    "Failed",
    "Feedback",
    "FeedbackError",
    "Forward",
    "Judge",
    "Metrics",
    "Observer",
    "Offer",
    "Optimiser",
    "Outcome",
    "PluginError",
    "Plugins",
    "Policy",
    "Prompt",
    "Question",
    "RewardSource",
    "RlaifError",
    "Rollouts",
    "RunConfig",
    "Sampler",
    "Sampling",
    "Score",
    "Scored",
    "Stop",
    "TrainingError",
    "Verdict",
    "hookimpl",
    "hookspec",
    "resume",
    "reward",
    "run",
]


def __getattr__(name: str) -> Any:
    # pydantic costs 0.1 s, which a plugin that only wants @reward should not pay.
    if name == "RunConfig":
        from rlaif_core.config import RunConfig

        return RunConfig
    raise AttributeError(f"module 'rlaif_core' has no attribute {name!r}")
