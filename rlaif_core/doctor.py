"""`rlaif doctor`: what to paste into a bug report. Values of keys, tokens and passwords are never read out."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from rlaif_core import __version__
from rlaif_core.errors import explain
from rlaif_core.plugins import Plugins

PACKAGES = (
    *("torch", "transformers", "tokenizers", "datasets", "safetensors", "peft", "accelerate", "numpy", "triton"),
    *("pluggy", "pydantic", "typer", "rich", "pyarrow", "tensorboard", "jinja2"),
)
SWITCHES = re.compile(r"(RLAIF|HF|TRANSFORMERS|TORCH|PYTORCH|CUDA|OMP|MKL|NCCL|TOKENIZERS)_\w+|(NO|FORCE)_COLOR")
SECRET = re.compile(r"KEY|TOKEN(?!IZERS)|SECRET|PASSWORD|PASSWD|CREDENTIAL|AUTH", re.IGNORECASE)
HIDDEN = "set, not shown"


def examine() -> dict[str, Any]:
    """Everything the report says, by section; `problems` is empty where nothing needs mending."""
    import rlaif_kernels as rk

    plugins = Plugins.load()
    kernels = rk.build_info()
    failures = {str(plugins.origins[name]): explain(error) for name, error in plugins.failures.items()}
    unmet = rk.unmet_requirements()
    return {
        "versions": {
            "rlaif-core": f"{__version__} ({Path(__file__).parent})",
            "python": f"{platform.python_version()} ({sys.executable})",
            "platform": platform.platform(),
            **{name: _version(name) for name in PACKAGES},
        },
        "devices": dict(_devices()),
        "kernels": kernels,
        "plugins": {str(origin): _offers(plugins, name) for name, origin in plugins.origins.items()},
        "environment": switches(os.environ),
        "notes": dict(_notes(kernels, plugins)),
        "problems": {
            **{f"RLAIF_REQUIRE={name}": reason for name, reason in unmet.items()},
            **{f"plugin {origin}": error for origin, error in failures.items()},
            **_broken_verbs(plugins),
        },
    }


def rendered(found: Mapping[str, Any]) -> str:
    """The report as text, one section after the other."""
    sections = []
    for title, entries in found.items():
        width = max(map(len, entries), default=0) if title == "versions" else 0
        lines = [f"  {name + ':':<{width + 1}} {_indented(str(text))}" for name, text in entries.items()]
        sections.append("\n".join([title, *(lines or ["  none"])]))
    return "\n\n".join(sections)


def switches(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that change what rlaif does; of secrets only that they are set, of addresses no passwords."""
    shown = {}
    for name, value in sorted(environment.items()):
        if SECRET.search(name):
            if SWITCHES.fullmatch(name) or name.upper().endswith(("_KEY", "_TOKEN")):
                shown[name] = HIDDEN
        elif SWITCHES.fullmatch(name):
            shown[name] = re.sub(r"//[^/@\s]+@", "//(hidden)@", value)
    return shown


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _devices() -> Iterator[tuple[str, str]]:
    import torch

    yield (
        "cpu",
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
    )
    for number in range(torch.cuda.device_count()):
        its = torch.cuda.get_device_properties(number)
        memory = its.total_memory / 2**30
        yield f"cuda:{number}", f"{its.name}, {memory:.0f} GiB, capability {its.major}.{its.minor}"
    if torch.backends.mps.is_available():
        yield "mps", "Apple GPU"


def _offers(plugins: Plugins, name: str) -> str:
    if name in plugins.failures:
        return "failed to load"
    count = sum(listing.origin.plugin == name for listing in plugins.listings())
    return f"{count} offer{'' if count == 1 else 's'}"


def _notes(kernels: Mapping[str, str], plugins: Plugins) -> Iterator[tuple[str, str]]:
    """What is well but should be said aloud."""
    if kernels.get("native", "absent").startswith("absent"):
        yield (
            "native kernels",
            "missing: the pure-Python fallback is in use, which gives the same results more slowly; "
            "install a C++ compiler and reinstall rlaif-core with RLAIF_REQUIRE=native to get them",
        )
    for name, why in plugins.blocked.items():
        yield f"plugin {name}", f"not loaded: {why}"


def _broken_verbs(plugins: Plugins) -> dict[str, str]:
    """The plugins whose `rlaif_commands` raises, with what it raised."""
    import typer

    broken = {}
    for origin, hook in plugins.implementations("rlaif_commands"):
        try:
            hook(typer.Typer())
        except Exception as error:  # noqa: BLE001  a stranger's hook may raise anything
            broken[f"verbs of plugin {origin}"] = explain(error)
    return broken


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")
