"""`plugins.lock.toml`: who took part in a run, so that it is never resumed with somebody else in their place."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlaif_core.errors import CheckpointError
from rlaif_core.files import sha256, write_bytes
from rlaif_core.plugins import LOCAL, Plugins

if TYPE_CHECKING:
    from rlaif_core.run import Run

LOCK = "plugins.lock.toml"
END = 2**20
"""Of a large file it is its length and so many bytes at both ends that are looked at."""
READ = frozenset({"path", "file", "model", "adapter", "rubric", "constitution", "calibration"})
"""What options are called that name a file, or the folder of a model, that a part reads."""
OF_A_MODEL = frozenset({".json", ".jinja", ".safetensors", ".model", ".txt", ".py"})
MEANT = "; if the change is meant, resume with --mended (mended=True)"
Entry = Mapping[str, Any]


def write(this: Run) -> None:
    """Write down who takes part."""
    import tomli_w

    write_bytes(this.folder / LOCK, tomli_w.dumps({"offers": _entries(this)}).encode())


def _entries(this: Run) -> list[dict[str, Any]]:
    """One entry a part: an offer's, or that of an object that was given in place of a table."""
    entries = []
    for chosen in sorted(this.plan.chosen, key=lambda its: its.part):
        origin = chosen.listing.origin
        entry: dict[str, Any] = {"part": chosen.part, "origin": str(chosen.listing), "plugin": origin.plugin}
        if named := dict(named_files(chosen.options)):
            entry["files"] = named
        entries.append(entry | ({"file": origin.distribution} if origin.version.startswith(f"{LOCAL} ") else {}))
    return entries + [{"part": part, "origin": place, "object": "yes"} for part, place in sorted(this.objects.items())]


def named_files(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(option, digest of the file or model folder that it names) for those options that say what a part reads.

    The option's value is part of its name here, but only as a digest, for it may come out of the environment.
    """
    for option in sorted(READ & options.keys()):
        named = options[option]
        for value in named if isinstance(named, list) else [named]:
            if isinstance(value, str):
                for place in (value, value.rpartition(":")[0]):  # "file.py:function", too
                    if place and (digest := _content(place)):
                        yield f"{option} {hashlib.sha256(value.encode()).hexdigest()[:12]}", digest


def _content(named: str) -> str | None:
    """A digest of a file, or of a folder that holds a model; None for anything else."""
    try:
        place = Path(named).expanduser()
        if place.is_file():
            return _quick(place)
        if any((place / config).is_file() for config in ("config.json", "adapter_config.json")):
            files = sorted(file for file in place.iterdir() if file.is_file() and file.suffix in OF_A_MODEL)
            return hashlib.sha256("".join(f"{file.name} {_quick(file)}" for file in files).encode()).hexdigest()
    except (OSError, ValueError, RuntimeError):  # it is no path at all, or none that we may read
        pass
    return None


def _quick(file: Path) -> str:
    size = file.stat().st_size
    if size <= 16 * END:
        return sha256(file)
    with file.open("rb") as opened:
        ends = opened.read(END)
        opened.seek(-END, 2)
        return hashlib.sha256(str(size).encode() + ends + opened.read(END)).hexdigest()


def _locked(folder: Path) -> list[Entry]:
    try:
        offers = tomllib.loads((folder / LOCK).read_text(encoding="utf-8"))["offers"]
        for entry in offers:
            if not (isinstance(entry["part"], str) and isinstance(entry["origin"], str)):
                raise ValueError("a part or its origin is no text")
            if "object" not in entry and not isinstance(entry["plugin"], str):
                raise ValueError("a plugin's name is no text")
            if not isinstance(entry.get("files", {}), dict):
                raise ValueError("a part's files are no table")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / LOCK} cannot be read ({error}); restore it, or start a new run") from error
    return offers  # type: ignore[no-any-return]


def verify_present(folder: Path, plugins: Plugins, objects: Mapping[str, str], mended: bool) -> None:
    """Ask for the plugins and objects that a run was started with, before its config names what nobody offers."""
    for entry in _locked(folder):
        part, origin = entry["part"], entry["origin"]
        if "object" in entry:
            if part not in objects:
                raise CheckpointError(f"{part} was an object, a {origin}; {_again(part)}")
        elif "file" in entry and not mended:  # else it may lie elsewhere now
            if entry["file"] not in {its.distribution for its in plugins.origins.values()}:
                raise CheckpointError(f"the run was started with a plugin file; say so again: --plugin {entry['file']}")
        elif entry["plugin"] not in plugins.origins:
            again = f"say --plugin FILE again, for it was {entry['file']}" if "file" in entry else "install it again"
            raise CheckpointError(
                f"{part} was {origin}, which is not there now: {plugins.blocked.get(entry['plugin'], again)}"
            )


def verify(this: Run, mended: bool) -> None:
    """Refuse to resume when a part is gone, new, or (unless they were `mended`) another than it was."""
    now, then = ({entry["part"]: entry for entry in its} for its in (_entries(this), _locked(this.folder)))
    for part, entry in then.items():
        if part not in now or (now[part]["origin"] != entry["origin"] and not mended):
            is_now = now[part]["origin"] if part in now else "missing"
            raise CheckpointError(
                f"{part} was {entry['origin']} when the run started but is {is_now} now; "
                f"{_advice(entry, now.get(part))}, or start a new run{MEANT if part in now else ''}"
            )
        before, after = entry.get("files", {}), now[part].get("files", {})
        if changed := [] if mended else [its for its in before if its in after and before[its] != after[its]]:
            raise CheckpointError(
                f"{part}: what its option {changed[0].partition(' ')[0]!r} names has changed since the run started; "
                f"restore it, or start a new run{MEANT}"
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
    return str(entry["origin"]).partition(" from ")[2]


def _again(part: str) -> str:
    kind = part.partition(" ")[0]
    keyword = {"action": "actions=[...]", "observer": "observers=[...]", "reward": "rewards={...}"}.get(
        kind, f"{kind}=..."
    )
    return f"resume it from Python with that object: rlaif_core.resume(folder, {keyword})"
