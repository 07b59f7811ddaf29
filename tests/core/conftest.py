"""Distributions made up on the spot: real modules with real metadata, on the path as if pip had installed them; and
policies on tiny random checkpoints, built once a session for each set of arguments."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

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


@pytest.fixture(scope="session")
def checkpoint_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """checkpoint_of("gpt2", tokens={...of `tokeniser`}, ends=[...], **config) -> a folder not to be written to."""
    from checkpoints import checkpoint, tokeniser

    made: dict[str, Path] = {}

    def build(architecture: str = "llama", *, tokens: dict[str, Any] | None = None, **changes: Any) -> Path:
        key = repr((architecture, tokens, sorted(changes.items())))
        if key not in made:
            folder = tmp_path_factory.mktemp(architecture)
            made[key] = checkpoint(folder, architecture, tokens=tokeniser(**(tokens or {})), **changes)
        return made[key]

    return build


@pytest.fixture(scope="session")
def policy_of(checkpoint_of: Callable[..., Path]) -> Callable[..., Any]:
    """policy_of("gpt2", how={...of the policy}, **as checkpoint_of) -> a policy of one's own, on the CPU."""
    from rlaif_core.policy import TransformersPolicy

    def build(architecture: str = "llama", *, how: dict[str, Any] | None = None, **changes: Any) -> Any:
        return TransformersPolicy(checkpoint_of(architecture, **changes), **{"device": "cpu", **(how or {})})

    return build
