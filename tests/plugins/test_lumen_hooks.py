from __future__ import annotations

import subprocess
import sys

import rlaif_core as rl
from rlaif_lumen import hooks


def test_everything_offered_can_be_built() -> None:
    offers = [*hooks.rlaif_policies(), *hooks.rlaif_actions(), *hooks.rlaif_judges()]
    assert [offer.name for offer in offers] == ["tiny", "converse", "tiny"]
    assert all(callable(offer.resolve()) and offer.summary for offer in offers)


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys, typer; from rlaif_lumen import hooks; app = typer.Typer(); hooks.rlaif_commands(app);"
        "list(hooks.rlaif_policies()); heavy = ('torch', 'transformers', 'rlaif_lumen.oracle');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_offers_reach_the_plugin_manager() -> None:
    plugins = rl.Plugins.load()
    assert plugins.find("judges", "tiny").offer.summary
    assert plugins.find("policies", "tiny").offer.summary
