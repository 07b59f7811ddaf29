from __future__ import annotations

import subprocess
import sys

import pytest

from rlaif_builtins import hooks
from rlaif_core.plugins import Origin, Plugins

NAMES = {
    "policies": {"transformers"},
    "actions": {"sample", "replay"},
    "rewards": {
        "classifier",
        "format",
        "function",
        "judge",
        "keywords",
        "length",
        "recorded",
        "regex",
        "repetition",
        "reward_model",
    },
    "credits": {"gae", "group", "leave_one_out", "terminal"},
    "optimisers": {"dpo", "grpo", "ppo", "reinforce"},
}


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    found = Plugins()
    found.add(hooks, Origin("builtins", "rlaif-core", "0"))
    return found


def test_what_is_offered(plugins: Plugins) -> None:
    offered: dict[str, set[str]] = {}
    for listing in plugins.listings():
        offered.setdefault(listing.kind, set()).add(listing.offer.name)
    for kind, names in NAMES.items():
        assert names <= offered[kind]


def test_every_offer_resolves_and_explains_itself(plugins: Plugins) -> None:
    for listing in plugins.listings():
        build = listing.offer.resolve()
        assert build.__doc__, listing
        assert 0 < len(listing.offer.summary) < 80, listing


def test_listing_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from rlaif_builtins import hooks\n"
        "for kind in ('policies', 'actions', 'rewards', 'credits', 'optimisers'):\n"
        "    list(getattr(hooks, 'rlaif_' + kind)())\n"
        "print(sorted({'torch', 'transformers', 'regex', 'numpy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
