"""Appends "begin" and, after `seconds`, "end" to a ledger that no agent and no server reads.

A line is: what, instruction, this very execution, event, nanoseconds since 1970.
"""

import os
import secrets
import time

import stavily

LINE = 128  # bytes, more than there ever are to write


@stavily.action
def work(params, ctx):
    """Do nothing but write down that it was done."""
    execution = secrets.token_hex(8)
    note(ctx, "begin", execution, params.event)
    time.sleep(params.seconds)
    note(ctx, "end", execution, params.event)
    return {"execution": execution}


def note(ctx, what, execution, event):
    """One write: lines of several processes do not mix. A kill leaves it whole or out, as none goes over the end of a page."""
    line = "{} {} {} {} {}".format(what, ctx.instruction_id, execution, event, time.time_ns()).ljust(LINE - 1) + "\n"
    out = os.open(os.path.join(ctx.config.ledger, "effects"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(out, line.encode())
    os.close(out)


if __name__ == "__main__":
    stavily.run()
