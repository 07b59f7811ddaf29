"""Which machine this is, and the file with its figures: `results/<device>.json`, one section a benchmark."""

from __future__ import annotations

import json
import os
import platform
import re
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


def processor() -> str:
    """The processor's name, as in "AMD EPYC 25-17": the numbers tell generations apart that are called the same."""
    path = Path("/proc/cpuinfo")
    told = dict(re.findall(r"^([a-z ]+?)\s*: (.+)$", path.read_text(), re.MULTILINE)) if path.exists() else {}
    if "model name" not in told:
        return platform.processor() or platform.machine()
    return f"{told['model name'].strip()} {told.get('cpu family', '?')}-{told.get('model', '?')}"


def device(accelerator: str | None = None) -> str:
    """A name for files: "cpu-amd-epyc-25-17-2" for two processors of that kind, or "gpu-nvidia-h200"."""
    name = f"gpu-{accelerator}" if accelerator else f"cpu-{processor()}-{os.cpu_count()}"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def save(section: str, figures: dict[str, Any], accelerator: str | None = None) -> Path:
    """Put the figures of one benchmark in the place of its older ones."""
    path = RESULTS / f"{device(accelerator)}.json"
    path.parent.mkdir(exist_ok=True)
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept |= {"processor": processor(), "processors": os.cpu_count(), "python": platform.python_version()}
    path.write_text(json.dumps(kept | {section: figures}, indent=2, ensure_ascii=False) + "\n")
    return path
