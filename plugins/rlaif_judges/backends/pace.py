"""How fast requests are sent where a server allows so many requests, and so many tokens, a minute.

Token buckets (RFC 2697 calls them so): what a minute allows flows in evenly, a twelfth of it can be saved up, and
whoever comes waits until there is enough. In no minute is more taken than it allows, but for what a single request
is larger than that twelfth.
"""

from __future__ import annotations

from rlaif_judges.backends.patience import Clock

SAVED = 12
"""A full bucket holds the share 1 / SAVED of what a minute allows, or 1."""


class Bucket:
    """What flows in and is taken; `allowed` a minute (0: no limit)."""

    def __init__(self, allowed: float, clock: Clock) -> None:
        self._allowed, self._clock = allowed, clock
        self._size = max(1.0, allowed / SAVED)
        self._rate = (allowed + 1 - self._size) / 60  # so that a full bucket and a minute's flow are within the limit
        self._level, self._seen = self._size, clock.now()

    async def take(self, amount: float) -> None:
        """Wait until `amount` has flowed in, behind those who came before; it may be more than the bucket holds."""
        if not self._allowed:
            return
        self._flow()
        self._level -= amount
        if self._level < 0:
            try:
                await self._clock.sleep(-self._level / self._rate)
            except BaseException:
                self.give(amount)
                raise

    def give(self, amount: float) -> None:
        """Put back what was taken and not needed; a negative amount is taken after the event."""
        self._level = min(self._size, self._level + amount)

    def _flow(self) -> None:
        now = self._clock.now()
        self._level = min(self._size, self._level + (now - self._seen) * self._rate)
        self._seen = now


class Pace:
    """The two buckets of a server."""

    def __init__(self, requests: int, tokens: int, clock: Clock) -> None:
        self._requests, self._tokens = Bucket(requests, clock), Bucket(tokens, clock)

    async def enter(self, tokens: float) -> None:
        """Return when one more request of about so many tokens, read and written, may be sent."""
        await self._requests.take(1)
        await self._tokens.take(tokens)

    def correct(self, expected: float, tokens: float) -> None:
        """The request that was expected to have `expected` tokens had `tokens`."""
        self._tokens.give(expected - tokens)
