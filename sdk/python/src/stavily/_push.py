"""Sensors that wait for their events: the function runs once, for as long as the process.

    main thread     the plugin's function, where signals arrive and can end any wait
    second thread   the agent's commands, so that the agent sees that it lives

`stop`, the end of the input and SIGTERM end the function by an exception that plugins
let pass, so that `with` and `finally` clean up. A function that ends by itself ends the
process, and the agent starts it again after a pause.
"""

import json
import logging
import signal
import sys
import threading
from typing import Any, BinaryIO, Dict

from ._contract import Host, read_line, write_line


def serve(host: Host, requests: BinaryIO, answers: BinaryIO) -> None:
    """Be the plugin's process until the agent says stop; exits with 1 when the function failed."""
    while not host.running:  # get_info, initialize, start
        if not host.serve(requests, answers, commands=1):
            return
    link = _Link(host, requests, answers)
    threading.Thread(target=link.answer, daemon=True).start()
    error = host.watch(link.push)
    if error:
        logging.getLogger("plugin").error("%s", error)
        sys.stderr.flush()
        sys.exit(1)


class _Link:
    """The agent's end of the protocol, used by both threads."""

    def __init__(self, host: Host, requests: BinaryIO, answers: BinaryIO) -> None:
        self._host = host
        self._requests = requests
        self._answers = answers
        self._writing = threading.Lock()  # a line is written whole

    def push(self, event: Dict[str, Any]) -> None:
        """Send an event that nobody acknowledges."""
        self._write(json.dumps({"event": event}, allow_nan=False).encode() + b"\n")

    def answer(self) -> None:
        """Answer commands until stop or the end of the input, and then end the function."""
        try:
            while self._host.running:
                line = read_line(self._requests)
                if not line:
                    break
                self._write(self._host.answer(line))
        except BrokenPipeError:  # the agent is gone
            pass
        _interrupt()

    def _write(self, line: bytes) -> None:
        with self._writing:
            write_line(self._answers, line)


def _interrupt() -> None:
    """Have the main thread's wait end, as a signal from the agent would."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:  # Windows: heard when the function next runs a line of Python
        import _thread

        _thread.interrupt_main()
