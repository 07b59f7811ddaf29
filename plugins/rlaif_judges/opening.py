"""What every language model that judges is opened with: its desk, its hygiene, and a calibration where there is one."""

from __future__ import annotations

from rlaif_judges.asking import Backend, Answering, Straight
from rlaif_judges.hygiene import Hygiene
from rlaif_judges.tally import Calibrator


def opened(backend: Backend, hygiene: Hygiene) -> tuple[Answering, Hygiene, Calibrator | None]:
    """The arguments of a `LanguageJudge`."""
    return Straight(backend), hygiene, None


def uncached(backend: Backend, hygiene: Hygiene) -> tuple[Answering, Hygiene, Calibrator | None]:
    """The same without a desk, for what answers differently tomorrow."""
    return Straight(backend), hygiene, None
