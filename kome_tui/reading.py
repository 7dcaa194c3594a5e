"""A measured value, or the reason why there is none.

Nothing that was not measured is ever drawn as 0, as an empty cell or as "down".
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Missing:
    """No value, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """A value (or Missing) and when it was taken, in Unix seconds of the operator's clock."""

    value: T | Missing
    taken_at: float

    def age_s(self, now: float) -> float:
        """Seconds since it was taken, never negative."""
        return max(0.0, now - self.taken_at)

    def or_none(self) -> T | None:
        """The value, or None where it is missing."""
        return None if isinstance(self.value, Missing) else self.value

    @property
    def why_missing(self) -> str | None:
        """The reason, or None where there is a value."""
        return self.value.reason if isinstance(self.value, Missing) else None


def not_yet(what: str = "not measured yet") -> Reading[T]:
    """A reading from before the first measurement."""
    return Reading(Missing(what), 0.0)
