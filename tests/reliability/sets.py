"""The trial sets of `python -m tests.reliability`: what each does, and how often at full size."""

from typing import NamedTuple


class TrialSet(NamedTuple):
    """A function `trials(n, seed)` of a module beside this one."""

    what: str
    module: str
    trials: int
    function: str = "trials"


SETS = {
    "kills": TrialSet(
        "SIGKILL at a random instant of a fit, some at a system call of a commit, some twice; started again to the end", "kills", 200
    ),
    "commits": TrialSet("every system call of a commit killed, failing or half done", "commits", 0),
    "power": TrialSet("power loss on a simulated disk: what was not synced is lost, torn or reordered", "power_loss", 10_000),
}
