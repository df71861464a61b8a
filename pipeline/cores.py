"""How many processes can work at the same time where this program runs."""


def cores() -> int:
    """Return the number of cores that this process may use, at least 1.

    Containers have all cores of their machine, but a quota of processor time (in the control groups of Linux, version 1 or 2): with a quota
    of half the time of one core, two processes would only get in each other's way. A quota of one and a half cores counts as two. The
    processor affinity and the variable ``LOKY_MAX_CPU_COUNT`` are limits, too.
    """
    from joblib import cpu_count  # which takes 0.3 seconds to import

    return int(cpu_count())
