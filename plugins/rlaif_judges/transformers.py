"""A language model of transformers in this process as a judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from rlaif_core import ConfigError
from rlaif_core.policy import TransformersPolicy
from rlaif_judges.asking import Backend
from rlaif_judges.backends.local import Local
from rlaif_judges.economy.budget import Economy
from rlaif_judges.hygiene import Hygiene
from rlaif_judges.opening import Accountable

Read = Literal["auto", "logprobs", "decision"]


class Transformers(Accountable):
    """The causal language model `model` (a folder or a hub id), frozen, asked `batch` requests at a time.

    read: "logprobs" scores the options of a request as answers to it, in one forward pass; "decision" goes through
    transformers' own decision pipeline (5.23 and later), as "auto" does for a model that was saved as a decision model,
    which can judge but writes no reasons, and takes requests one at a time. mass: below so much probability on all
    options together, the choice has failed; 0: whatever it is. Other options are those of policy `transformers`.
    """

    def __init__(
        self,
        model: str,
        *,
        read: Read = "auto",
        batch: int = 16,
        mass: float = 0.0,
        device: str = "auto",
        dtype: str = "float32",
        chat: bool | None = None,
        attention: str | None = None,
        revision: str | None = None,
        hygiene: Hygiene = Hygiene(),
        economy: Economy = Economy(),
    ) -> None:
        if batch < 1 or not 0 <= mass < 1:
            raise ConfigError(f"judge transformers: batch is {batch}, mass {mass}; they must be >= 1 and in [0, 1)")
        hygiene.insist_that_votes_differ("transformers")
        loading: dict[str, Any] = {"device": device, "dtype": dtype, "attention": attention, "revision": revision}
        super().__init__(_backend(model, read, batch, mass, chat, loading), Path(model).name, hygiene, economy)


def _backend(model: str, read: Read, batch: int, mass: float, chat: bool | None, loading: dict[str, Any]) -> Backend:
    from rlaif_judges.backends import decision

    if read == "decision" or (read == "auto" and decision.saved_as_one(model)):
        for name, given in (("mass", mass > 0), ("chat", chat is not None)):
            if given:
                raise ConfigError(
                    f"judge transformers: read = 'decision' has no option {name}; drop it, or set read = 'logprobs'"
                )
        return decision.Decision(model, **loading)
    policy = TransformersPolicy(model, chat=chat, **loading)
    policy.module.requires_grad_(False)
    identity = {
        "backend": "transformers",
        "weights": policy.state_dict()["origin"],
        "dtype": loading["dtype"],
        "attention": loading["attention"],
        "chat": policy.chat.use_template,
        "ends": sorted(policy.chat.ends),
        "mass": mass,
    }
    return Local(policy, identity=identity, batch=batch, mass=mass)
