"""`plugins.lock.toml`: who took part in a run, so that it is never resumed with somebody else in their place."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rlaif_core.errors import CheckpointError
from rlaif_core.files import write_bytes
from rlaif_core.plugins import LOCAL, Plugins

if TYPE_CHECKING:
    from rlaif_core.run import Run

LOCK = "plugins.lock.toml"
Entry = Mapping[str, str]


def write(this: Run) -> None:
    """Write down who takes part."""
    import tomli_w

    write_bytes(this.folder / LOCK, tomli_w.dumps({"offers": _entries(this)}).encode())


def _entries(this: Run) -> list[dict[str, str]]:
    """One entry a part: an offer's, or that of an object that was given in place of a table."""
    entries = []
    for chosen in sorted(this.plan.chosen, key=lambda its: its.part):
        origin = chosen.listing.origin
        entry = {"part": chosen.part, "origin": str(chosen.listing), "plugin": origin.plugin}
        entries.append(entry | ({"file": origin.distribution} if origin.version.startswith(f"{LOCAL} ") else {}))
    return entries + [{"part": part, "origin": place, "object": "yes"} for part, place in sorted(this.objects.items())]


def _locked(folder: Path) -> list[Entry]:
    try:
        offers = tomllib.loads((folder / LOCK).read_text(encoding="utf-8"))["offers"]
        for entry in offers:
            if not (isinstance(entry["part"], str) and isinstance(entry["origin"], str)):
                raise ValueError("a part or its origin is no text")
            if "object" not in entry and not isinstance(entry["plugin"], str):
                raise ValueError("a plugin's name is no text")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / LOCK} cannot be read ({error}); restore it, or start a new run") from error
    return offers  # type: ignore[no-any-return]


def verify_present(folder: Path, plugins: Plugins, objects: Mapping[str, str]) -> None:
    """Ask for the plugins and objects that a run was started with, before its config names what nobody offers."""
    for entry in _locked(folder):
        part, origin = entry["part"], entry["origin"]
        if "object" in entry:
            if part not in objects:
                raise CheckpointError(f"{part} was an object, a {origin}; {_again(part)}")
        elif "file" in entry:
            if entry["file"] not in {its.distribution for its in plugins.origins.values()}:
                raise CheckpointError(f"the run was started with a plugin file; say so again: --plugin {entry['file']}")
        elif entry["plugin"] not in plugins.origins:
            why = plugins.blocked.get(entry["plugin"], "install it again")
            raise CheckpointError(f"{part} was {origin}, which is not there now: {why}")


def verify(this: Run) -> None:
    """Refuse to resume when a part is gone, new, or another than it was."""
    now, then = ({entry["part"]: entry for entry in its} for its in (_entries(this), _locked(this.folder)))
    for part, entry in then.items():
        if part not in now or now[part]["origin"] != entry["origin"]:
            is_now = now[part]["origin"] if part in now else "missing"
            raise CheckpointError(
                f"{part} was {entry['origin']} when the run started but is {is_now} now; "
                f"{_advice(entry, now.get(part))}, or start a new run"
            )
    if added := sorted(set(now) - set(then)):
        origin = now[added[0]]["origin"]
        raise CheckpointError(
            f"{added[0]} ({origin}) took no part when the run started; resume without it, or start a new run"
        )


def _advice(then: Entry, now: Entry | None) -> str:
    if "object" in then:
        return _again(then["part"])
    if now is None or "object" in now or _source(now) == _source(then):
        return "a resumed run keeps its parts: change it back"
    return f"restore {then['file']}" if "file" in then else "install that version again"


def _source(entry: Entry) -> str:
    """The plugin with its version, as in "credit 'mine' from <this>"."""
    return entry["origin"].partition(" from ")[2]


def _again(part: str) -> str:
    kind = part.partition(" ")[0]
    keyword = {"action": "actions=[...]", "reward": "rewards={...}"}.get(kind, f"{kind}=...")
    return f"resume it from Python with that object: rlaif_core.resume(folder, {keyword})"
