"""`rlaif new KIND NAME`: a plugin distribution from the templates, which works, tests included, as it is written."""

from __future__ import annotations

import builtins
import re
from keyword import iskeyword
from pathlib import Path
from string import Template

from rlaif_core.errors import ConfigError, PluginError, RlaifError
from rlaif_core.plugins import Plugins
from rlaif_core.show import kind_named, singular

SITES = {"copyright", "credits", "exit", "license", "quit"}  # which only interactive use has
RESERVED = {*dir(builtins)} - SITES | {*"rl core kernels builtins lumen any iterator mapping path sequence".split()}
"""Names that would hide what is built in or imported."""
TEMPLATES = Path(__file__).parent / "templates" / "plugin"
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
USAGE = {
    "policies": '[policy]\nuse = "{name}"\nmodel = "Qwen/Qwen3-0.6B"\ntrain = "mlp"',
    "actions": '[[actions]]\nuse = "{name}"\nmax_tokens = 64',
    "judges": '[judges.main]\nuse = "{name}"\n\n[[rewards]]\nuse = "judge"\njudge = "main"\nrubric = "kind and clear"',
    "rewards": '[[rewards]]\nuse = "{name}"\nlimit = 500',
    "credits": '[credit]\nuse = "{name}"',
    "optimisers": '[optimiser]\nuse = "{name}"\nlr = 1e-3',
    "observers": '[[observers]]\nuse = "{name}"\nleast = 0.2',
}


def scaffold(kind: str, name: str, out: Path) -> Path:
    """Write the plugin `rlaif-NAME` into a new folder below `out` and return that folder.

    Raises PluginError for a kind that does not exist or a name that is taken, ConfigError for a name that cannot be one
    or a folder that is there already.
    """
    kinds, name = kind_named(kind), _checked(name)
    for listing in Plugins.load().listings(kinds):
        if listing.offer.name == name:
            raise PluginError(f"there is a {listing} already; choose another name")
    folder = out / f"rlaif-{name.replace('_', '-')}"
    if folder.exists():
        raise ConfigError(f"{folder} exists already; choose another name, or another place with --out")
    module = f"rlaif_{name}"
    fields = {
        "kind": singular(kinds),
        "name": name,
        "module": module,
        "distribution": folder.name,
        "Class": "".join(word.capitalize() for word in name.split("_")),
        "entry": f"{module}:{name}" if kinds == "rewards" else module,
        "usage": USAGE[kinds].format(name=name),
    }
    files = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{module}.py": f"{singular(kinds)}.py",
        f"tests/test_{module}.py": f"test_{singular(kinds)}.py",
    }
    texts = {path: (TEMPLATES / f"{template}.template").read_text(encoding="utf-8") for path, template in files.items()}
    try:
        (folder / "tests").mkdir(parents=True)
        for path, text in texts.items():
            (folder / path).write_text(Template(text).substitute(fields), encoding="utf-8")
    except OSError as error:
        raise RlaifError(f"cannot write {folder} ({error.strerror}); choose another place with --out") from error
    return folder


def _checked(name: str) -> str:
    if plain := _identifier(name):
        return plain
    fitting = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789") or "my-plugin"
    close = f"; try {fitting!r}" if _identifier(fitting) else ""
    raise ConfigError(
        f"{name!r} cannot name a plugin; use small letters, digits and hyphens, a letter first, no Python word{close}"
    )


def _identifier(name: str) -> str:
    """The name as an identifier: "my-reward" and "rlaif-my-reward" mean my_reward; empty where it cannot be one."""
    plain = name.replace("-", "_").removeprefix("rlaif_")
    return plain if NAME.fullmatch(plain) and not iskeyword(plain) and plain not in RESERVED else ""
