"""The errors a user may meet, and `blame`, which says whose code raised.

Every message reads: what happened, whose it is, what to do. Exceptions out of a plugin keep their type and gain a note.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


class RlaifError(Exception):
    """Base of every error that rlaif raises on purpose."""


class ConfigError(RlaifError):
    """The configuration asks for something that does not exist or does not fit together."""


class DataError(RlaifError):
    """A dataset, a prompt or a recorded answer cannot be used."""


class PluginError(RlaifError):
    """A plugin is missing, broken, offered twice, or broke its contract."""


class FeedbackError(RlaifError):
    """Feedback is missing or wrong; nothing has been trained on it."""


class TrainingError(RlaifError):
    """A step would have damaged the policy or changed nothing, and left the weights alone; or it has damaged them."""


class CheckpointError(RlaifError):
    """A checkpoint is damaged, missing, or of another run."""


class Stop(Exception):  # noqa: N818  a wish, no error
    """What an observer raises to end a run in good order: why, as in "gold fell below where it began"."""


def suggest(wrong: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` when one of `known` is close to `wrong`, else an empty string."""
    close = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


@contextmanager
def blame(note: str) -> Iterator[None]:
    """Add `note` to whatever exception leaves the block; the type and traceback stay as they are.

    Code that wants to end the process in there does not: as an exit it might look like success.
    """
    try:
        yield
    except SystemExit as wish:
        error = PluginError(f"it called sys.exit({wish.code!r}) in the middle of a run; raise an error instead")
        error.add_note(f"  in {note}")
        raise error from wish
    except Exception as error:
        error.add_note(f"  in {note}")
        raise


def all_of(error: BaseException | None, *works: Callable[[], object]) -> None:
    """Do all `works`, whatever becomes of the others. The first that fails is raised at the end, unless there is an
    `error` already, which it must not hide; whatever fails besides is a note of that one."""
    first: Exception | None = None
    for work in works:
        try:
            work()
        except Exception as late:  # noqa: BLE001  nothing is swallowed: it is raised below, or noted
            if before := error or first:
                before.add_note(f"  and besides: {explain(late)}")
            else:
                first = late
    if first is not None:
        raise first


def explain(error: BaseException) -> str:
    """One readable paragraph: type, message and the notes of who was at work.

    What a model or a judge wrote may be part of it, so nothing in it can steer a terminal.
    """
    notes = getattr(error, "__notes__", [])
    return inert("\n".join([f"{type(error).__name__}: {error}", *notes]))


def first_line(error: BaseException) -> str:
    """What another library says at length, in short."""
    return str(error).strip().partition("\n")[0]


def inert(text: str) -> str:
    """`text` with what steers a terminal or turns the writing round spelt out, but for line ends and tabs."""
    return "".join(repr(c)[1:-1] if c not in "\n\t" and _steers(c) else c for c in text)


def _steers(character: str) -> bool:
    turns = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    return character in turns or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
