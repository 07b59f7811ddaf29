"""What the packages in the main wheel offer, and that looking at it costs nothing."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from rlaif_core.offers import KINDS
from rlaif_core.plugins import Origin, Plugins

PACKAGES = ("builtins", "fusion", "guards", "judges", "lumen", "report", "rewards")
NAMES = {
    "policies": "tiny transformers",
    "actions": "converse quantilise replay sample",
    "judges": "ensemble function openai policy recorded tiny transformers",
    "rewards": (
        "calibration clarification classifier consistency factuality format function grammar ignorance judge keywords "
        "length metric paraphrase_agreement preference readability recorded regex repetition restoration reward_model "
        "semantic_entropy sincerity toxicity"
    ),
    "credits": "gae group leave_one_out terminal",
    "optimisers": "dpo grpo ppo reinforce",
    "observers": "canary exploits expected_maximum kl_budget",
}


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    found = Plugins()
    for name in PACKAGES:
        found.add(import_module(f"rlaif_{name}.hooks"), Origin(name, "rlaif-core", "0"))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_offered(plugins: Plugins, kind: str) -> None:
    assert sorted(NAMES[kind].split()) == [listing.offer.name for listing in plugins.listings(kind)]


def test_every_offer_resolves_and_explains_itself(plugins: Plugins) -> None:
    for listing in plugins.listings():
        build = listing.offer.resolve()
        assert build.__doc__, listing
        assert 0 < len(listing.offer.summary) < 90, listing


def test_listing_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from importlib import import_module\n"
        f"modules = [import_module(f'rlaif_{{name}}.hooks') for name in {PACKAGES}]\n"
        f"for hook in [f'rlaif_{{kind}}' for kind in {KINDS}]:\n"
        "    for module in modules:\n"
        "        list(getattr(module, hook)() if hasattr(module, hook) else ())\n"
        "heavy = {'torch', 'transformers', 'regex', 'numpy', 'sklearn', 'openai', 'httpx', 'datasets'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
