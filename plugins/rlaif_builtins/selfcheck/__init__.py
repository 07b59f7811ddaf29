"""`rlaif selfcheck`: the traps that make other libraries train on the wrong numbers, tried on this very installation.

Each check builds what it needs in process, states one thing that must hold, and returns the figure it measured.
"""

from __future__ import annotations

from rlaif_builtins.selfcheck.registry import Check, Outcome, every, perform

__all__ = ["Check", "Outcome", "every", "perform"]
