"""What a language model that judges is opened with: its desk, its hygiene, and a calibration where there is one."""

from __future__ import annotations

from pathlib import Path

from rlaif_core import ConfigError, DataError
from rlaif_core.calibration import Temperature, of_json
from rlaif_core.protocols import State
from rlaif_judges.asking import Backend, Straight
from rlaif_judges.economy.budget import Economy
from rlaif_judges.economy.desk import Desk
from rlaif_judges.hygiene import Hygiene
from rlaif_judges.language import LanguageJudge
from rlaif_judges.tally import Calibrator


class Accountable(LanguageJudge):
    """A language judge with a cache, a ledger and a budget; a resumed run goes on with its account.

    priced: whether its backend says what a reply costs in money.
    """

    def __init__(
        self, backend: Backend, name: str, hygiene: Hygiene, economy: Economy, *, priced: bool = False
    ) -> None:
        if economy.budget_cost and not priced:
            raise ConfigError(
                f"judge {name!r}: budget_cost is {economy.budget_cost:g}, but nothing it says has a price, so that the "
                "budget would never be spent; set price_in and price_out where there are such, or limit the calls"
            )
        self.desk = Desk(backend, judge=name, economy=economy)
        super().__init__(self.desk, hygiene, calibrator_of(hygiene))

    def state_dict(self) -> State:
        return self.desk.state_dict()

    def load_state_dict(self, state: State) -> None:
        self.desk.load_state_dict(state)


class Unaccountable(LanguageJudge):
    """A language judge that asks anew every time, for its model is another one tomorrow."""

    def __init__(self, backend: Backend, hygiene: Hygiene) -> None:
        super().__init__(Straight(backend), hygiene, calibrator_of(hygiene))


def calibrator_of(hygiene: Hygiene) -> Calibrator | None:
    """The calibration that the option names."""
    if not hygiene.calibration:
        return None
    path = Path(hygiene.calibration).expanduser()
    try:
        calibrator = of_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"judge: calibration {str(path)!r} cannot be read from {Path.cwd()}: {error}") from None
    except DataError as error:
        raise ConfigError(f"judge: calibration {str(path)!r}: {error}") from None
    if isinstance(calibrator, Temperature):
        raise ConfigError(f"judge: calibration {str(path)!r} is for logits; fit one for probabilities")
    return lambda probability: float(calibrator([probability])[0])
