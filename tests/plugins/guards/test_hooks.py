from __future__ import annotations

import subprocess
import sys

import pytest

from rlaif_core.plugins import Origin, Plugins
from rlaif_guards import hooks


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    found = Plugins()
    found.add(hooks, Origin("guards", "rlaif-core", "0"))
    return found


def test_every_offer_resolves_and_explains_itself(plugins: Plugins) -> None:
    names = {(listing.kind, listing.offer.name) for listing in plugins.listings()}
    assert names == {("actions", "quantilise"), *(("observers", its) for its in ("canary", "exploits", "kl_budget"))}
    for listing in plugins.listings():
        assert listing.offer.resolve().__doc__, listing
        assert 0 < len(listing.offer.summary) < 80, listing
        assert str(listing).startswith(("action ", "observer "))


def test_listing_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from rlaif_guards import hooks\n"
        "list(hooks.rlaif_actions()), list(hooks.rlaif_observers())\n"
        "print(sorted({'torch', 'sklearn', 'regex', 'numpy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
