"""False alarms of the drift alarm on streams whose rows stay as they are."""

from benchmarks.drift import Case, told_of
from tests.reliability.outcome import Outcome

PROMISE = "a stationary stream of 80 batches of 1,000 rows raises no drift alarm"


def trials(n: int, seed: int) -> Outcome:
    """n streams, half of them with a window."""
    alarms = [told_of(Case(window=20_000.0 if i % 2 else None, calm=80, after=0), seed + i).early for i in range(n)]
    return Outcome(PROMISE, n, sum(alarm > 0 for alarm in alarms), {"alarms": sum(alarms), "batches": 80 * n})
