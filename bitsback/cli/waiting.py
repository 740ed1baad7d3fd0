"""How long OpenMP's threads spin while they wait for one another.

GNU's libgomp, which torch brings along, lets a waiting thread spin 300,000 times (tens of
milliseconds) before it sleeps.  On a busy machine that thread occupies the very core that the
thread it waits for needs: two threads then take longer than one (`python -m benchmarks.waiting
IMAGE`).  The library reads the setting when it is loaded; only a program may change it.
"""

import os
from collections.abc import Mapping, MutableMapping

SPINS = 1_000  # some 50 microseconds: far shorter than another program's time slice
# Variables that the user may have set; the last two are those of other OpenMP libraries.
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


def limit_spinning(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Sets GOMP_SPINCOUNT to SPINS unless the user has set one of VARIABLES; True if it did.

    It has no effect in a process that has loaded torch already.
    """
    if wait_settings(environment):
        return False
    environment["GOMP_SPINCOUNT"] = str(SPINS)
    return True


def wait_settings(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Those of VARIABLES that are set, as NAME=VALUE."""
    return [f"{name}={environment[name]}" for name in VARIABLES if name in environment]
