"""A whole labelling of rows in a file, by judges made on the spot, in one call."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest

from labels import PRINCIPLES, ROWS, Given
from rlaif_core.plugins import Origin, Plugins
from rlaif_judges.label import labelling
from rlaif_judges.label.config import LabelConfig

Label = Callable[..., dict[str, Any]]


@pytest.fixture
def label(tmp_path: Path) -> Label:
    """label(judges={name: judge}, what=[...], rows=[...], label={...}, anew=..., other tables) -> the report.

    `asking` are tables of judges that ask those.
    """

    def run(
        judges: Mapping[str, Any],
        what: Sequence[str] = ("preferences",),
        rows: Sequence[Mapping[str, Any]] = ROWS,
        label: Mapping[str, Any] | None = None,
        anew: bool = False,
        asking: Mapping[str, Any] | None = None,
        **tables: Any,
    ) -> dict[str, Any]:
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / "principles.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PRINCIPLES))
        plugins = Plugins.load()
        plugins.add(Given(judges), Origin("given", "tests", "0"))
        config = LabelConfig.of(
            {
                "prompts": {"files": str(tmp_path / "rows.jsonl")},
                "judges": {name: {"use": name} for name in judges} | dict(asking or {}),
                "label": {"what": list(what), "out": str(tmp_path / "out"), **(label or {})},
                **tables,
            }
        )
        return labelling.label(config, plugins, anew=anew)

    return run


@pytest.fixture
def rows_of(tmp_path: Path) -> Callable[[str], list[dict[str, Any]]]:
    """The rows of a kind that the labelling left behind."""
    return lambda what: datasets.load_from_disk(str(tmp_path / "out" / what)).to_list()


@pytest.fixture
def principles(tmp_path: Path) -> str:
    """The path of a constitution; `label` writes it."""
    return str(tmp_path / "principles.jsonl")
