"""What one look at the installation found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

State = Literal["ok", "note", "fix"]


@dataclass(frozen=True)
class Check:
    """One line of the doctor.

    Attributes:
        what: what was looked at, e.g. ``"disk"``.
        state: ``"ok"``; ``"note"``, something that is optional is not there; ``"fix"``, something
            does not work.
        found: what was found.
        remedy: what to do; empty where nothing is to be done.
    """

    what: str
    state: State
    found: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)

    def without_home(self) -> Check:
        """As it is, with the home folder, which names the user, as ``~``."""
        home = str(Path.home())
        # In some containers it is the root, which names nobody.
        return self if home == "/" else replace(self, found=self.found.replace(home, "~"))
