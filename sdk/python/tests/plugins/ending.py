"""A sensor that tells, when its process ends, what a signal would do then."""

import atexit
import signal

import stavily


@stavily.sensor(interval=1)
def sense():
    pass


atexit.register(lambda: print("at the end:", repr(signal.getsignal(signal.SIGTERM)).strip("<>").split(":")[0]))

if __name__ == "__main__":
    stavily.run()
