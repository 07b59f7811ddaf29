"""Distributions made up on the spot: real modules with real metadata, on the path as if pip had installed them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest


class Distribution(Protocol):
    """Installs a distribution: its entry points of group `rlaif`, and its modules as name -> source."""

    def __call__(
        self, name: str, entry_points: Mapping[str, str], modules: Mapping[str, str], version: str = "1.0"
    ) -> Path: ...


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distribution]:
    """Makes distributions in a site folder of their own; what they import is forgotten afterwards."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    before = set(sys.modules)

    def install(name: str, entry_points: Mapping[str, str], modules: Mapping[str, str], version: str = "1.0") -> Path:
        for module, source in modules.items():
            (site / f"{module}.py").write_text(source)
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [f"{entry} = {target}" for entry, target in entry_points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[rlaif]", *lines, ""]))
        return site

    yield install
    for module in set(sys.modules) - before:
        if str(site) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]
