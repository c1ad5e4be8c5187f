"""An action that waits where nobody looks at ctx.cancelled."""

import os
import time

import stavily


@stavily.action
def wait(ctx):
    try:
        with ctx.interruptible():
            ctx.log.info("waiting in trace %s", ctx.trace_id)
            time.sleep(60)
    finally:
        time.sleep(0.2)  # a second signal does not interrupt this
        ctx.log.info("cleaned up, %s", os.getpid() > 0)


if __name__ == "__main__":
    stavily.run()
