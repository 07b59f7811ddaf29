"""The pinned versions cover what is declared, so that a new dependency is not resolved anew on every machine."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


def declared(repository: Path) -> list[Requirement]:
    """What is needed to build, to run and to test."""
    tables = tomllib.loads((repository / "pyproject.toml").read_text())
    project = tables["project"]
    lines = [*tables["build-system"]["requires"], *project["dependencies"]]
    lines += [line for extra in project["optional-dependencies"].values() for line in extra]
    return [requirement for requirement in map(Requirement, lines) if requirement.name != project["name"]]


def pinned(repository: Path) -> dict[str, Version]:
    lines = (repository / "constraints.txt").read_text().splitlines()
    pins = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): Version(version) for name, version in pins}


def test_every_requirement_is_pinned_to_a_version_that_satisfies_it(repository: Path) -> None:
    pins = pinned(repository)
    wrong = {str(r): pins.get(canonicalize_name(r.name)) for r in declared(repository)}
    wrong = {r: pin for r, pin in wrong.items() if pin is None or pin not in Requirement(r).specifier}
    assert not wrong, "`make constraints` resolves them again"


def test_no_pin_is_of_one_machine(repository: Path) -> None:
    """torch==2.13.0 is met by 2.13.0+cpu, where that is what a machine offers, and by PyPI's elsewhere."""
    assert not {name: str(pin) for name, pin in pinned(repository).items() if pin.local}
