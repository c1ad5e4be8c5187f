"""Runs the one probe that its parameters name."""

import stavily
from probes import attempt


@stavily.action
def attack(params, ctx):
    """What came of the probe: verdict and evidence."""
    return attempt(params.probe, params.bait)


if __name__ == "__main__":
    stavily.run()
