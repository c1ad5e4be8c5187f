"""Appends "seq nanoseconds" to the file "started" in its home; the clock is read first."""
import time

started = time.time_ns()

import json  # noqa: E402 - after the clock on purpose
import os  # noqa: E402

with open(os.environ["STAVILY_INPUT_FILE"]) as f:
    params = json.load(f)["input_data"]
line = "{} {}\n".format(params["seq"], started).encode()
out = os.open(os.path.join(os.environ["HOME"], "started"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
os.write(out, line)
