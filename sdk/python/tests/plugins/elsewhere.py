"""A sensor whose signals reach another thread than the one that reads, as if they came just before a read."""

import os
import signal
import threading

import stavily


@stavily.sensor(interval=1)
def sense():
    child = os.fork()
    if child == 0:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        finally:
            os._exit(0)
    os.waitpid(child, 0)


threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

if __name__ == "__main__":
    stavily.run()
