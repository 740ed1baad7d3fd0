"""How long OpenMP's threads turn while they wait for one another: asked of the library before it is
loaded, by a program, not by a library.

GNU's libgomp, which torch brings along, lets a waiting thread turn 300,000 times (tens of
milliseconds) before it sleeps.  On a machine with other work that thread keeps the very one from a
core that it waits for: two threads then take longer than one (`python -m benchmarks.waiting
IMAGE`).
"""

import os

TURNS = 10_000  # about half a millisecond: shorter than the time slice of another program
# What a user may have said; the last two are of other OpenMPs.
ASKED = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


def limit_turns(environment=os.environ) -> bool:
    """Asks for TURNS unless the user has asked for something.  True if it did.  Nothing changes in
    a process that has loaded torch already.
    """
    if asked(environment):
        return False
    environment["GOMP_SPINCOUNT"] = str(TURNS)
    return True


def asked(environment=os.environ) -> list[str]:
    """What is asked of OpenMP about waiting, as NAME=VALUE."""
    return [f"{name}={environment[name]}" for name in ASKED if name in environment]
