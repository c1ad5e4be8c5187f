"""Appends "seq nanoseconds" to the file "started" in its home; the clock is read first."""
import os
import time

import stavily


@stavily.action
def note(params, ctx):
    """Writes the time of the call down."""
    started = time.time_ns()
    line = "{} {}\n".format(params.seq, started).encode()
    out = os.open(os.path.join(os.environ["HOME"], "started"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(out, line)
    finally:
        os.close(out)
    return {"seq": params.seq}


if __name__ == "__main__":
    stavily.run()
