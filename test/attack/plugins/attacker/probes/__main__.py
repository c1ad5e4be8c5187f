"""Lists the probes, for the program that runs them."""

import json

from . import PROBES

print(json.dumps([probe.listed() for probe in PROBES.values()]))
