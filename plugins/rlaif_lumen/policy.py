"""The packaged policy: 1.3 M parameters that talk like the messy corpus they read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlaif_core.policy import TransformersPolicy

FOLDER = Path(__file__).parent / "weights" / "policy"


class TinyPolicy(TransformersPolicy):
    """The embedded default, `model = "builtin:tiny"`: it hallucinates, guesses and insults at known rates.

    The options are those of policy `transformers`, but for the model itself, its chat template and its end token.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        dtype: str = "float32",
        lora: dict[str, Any] | None = None,
        adapter: str | None = None,
        attention: str | None = None,
    ) -> None:
        options: dict[str, Any] = {"lora": lora, "adapter": adapter, "attention": attention}
        super().__init__(FOLDER, device=device, dtype=dtype, **options)
