"""P9 for rounds within a pass: stopped and killed anywhere, delivered in any order, stepwise and incremental EM give one hash each."""

from dataclasses import replace

from streamgmm.registry import implementation
from streamgmm.stopping import Stopping
from tests.reliability import schedules
from tests.reliability.outcome import Outcome

NAMES = ("stepwise", "incremental")


def world(name):
    """The world of full-batch EM under another schedule: two passes."""
    here = schedules.world()
    problem = replace(here.problem, schedule=implementation("schedules", name)(), stopping=Stopping(tol=0.0, max_iter=2), seed=3)
    return schedules.World(problem, here.first)


def trials(n: int, seed: int) -> Outcome:
    """`n` schedules of each kind from `seed` on; a violation is another hash, or an error."""
    violations, seen = [], {}
    for name in NAMES:
        here = world(name)
        expected = here.expected
        for number in range(seed, seed + n):
            try:
                found = schedules.fit_under(number, here)
            except Exception as error:  # noqa: BLE001  (whatever it is, it ended a fit)
                found = type(error).__name__
            if found != expected:
                violations.append((name, number, found))
        seen |= {f"{name}: {kind}": count for kind, count in sorted(here.seen.items())}
    return Outcome("P9", len(NAMES) * n, len(violations), {"first that failed": violations[:5], **seen})
