import sys
import time
import stavily


@stavily.action
def loud(params, ctx):
    sys.stderr.write(("x" * 4000 + "\n") * params.lines)
    sys.stderr.flush()
    time.sleep(params.seconds)
    return {"done": True}


if __name__ == "__main__":
    stavily.run()
