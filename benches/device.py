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
    """The processor's name, as in "AMD EPYC"."""
    path = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.+)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return named[1].strip() if named else platform.processor() or platform.machine()


def device() -> str:
    """A name for files: "cpu-amd-epyc-2" for two processors of an AMD EPYC."""
    return f"cpu-{re.sub(r'[^a-z0-9]+', '-', processor().lower()).strip('-')}-{os.cpu_count()}"


def save(section: str, figures: dict[str, Any]) -> Path:
    """Put the figures of one benchmark in the place of its older ones."""
    path = RESULTS / f"{device()}.json"
    path.parent.mkdir(exist_ok=True)
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept |= {"processor": processor(), "processors": os.cpu_count(), "python": platform.python_version()}
    path.write_text(json.dumps(kept | {section: figures}, indent=2, ensure_ascii=False) + "\n")
    return path
