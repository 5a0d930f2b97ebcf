"""Who looks on while a session is carried out. What it does not know: the terminal, and what a session is."""

from typing import Protocol


class Watch(Protocol):
    """Who looks on: the command line's progress bar, or a test."""

    def say(self, line: str) -> None:
        """Something worth a line."""

    def expect(self, seconds: float) -> None:
        """How long the rest will take."""

    def stage(self, text: str) -> None:
        """What is going on now."""

    def advance(self, seconds: float) -> None:
        """So much of what was expected is done."""

    def tick(self) -> None:
        """Between two turns: the only time to draw, since nobody's clock runs."""


class Silent:
    """Nobody looks on."""

    def say(self, line: str) -> None:
        pass

    def expect(self, seconds: float) -> None:
        pass

    def stage(self, text: str) -> None:
        pass

    def advance(self, seconds: float) -> None:
        pass

    def tick(self) -> None:
        pass
