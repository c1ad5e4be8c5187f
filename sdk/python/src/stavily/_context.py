"""What an action or an output knows about the run it is in."""

import logging
import math
import os
import time
from typing import Any, Dict, Mapping, Optional

from ._agent import Agent, AgentError
from ._errors import Cancelled
from ._settings import Settings

# How long a sleep or a wait may leave a cancellation unnoticed.
_LOOK_SECONDS = 0.1

# Progress is for eyes and renews a lease of a minute: more often helps neither.
_PROGRESS_SECONDS = 1.0


class Context:
    """One run of an action or an output.

    instruction_id   the instruction that is run, the same for every attempt at it
    idempotency_key  what to give to other systems so that a second attempt is
                     recognised there; the same for every attempt
    config           the plugin's configuration on this host, set by the host's owner
    deadline         when the time is up, on the clock of `time.monotonic()`;
                     infinite without a limit. The agent ends the process then
    log              a standard logger; lines go to the run's log with their level
    """

    def __init__(
        self,
        *,
        instruction_id: str,
        idempotency_key: str = "",
        config: Mapping[str, Any],
        timeout: Optional[float] = None,
        agent: Optional[Agent] = None
    ) -> None:
        self.instruction_id = instruction_id
        self.idempotency_key = idempotency_key or instruction_id
        self.config = Settings("config", config)
        self.deadline = time.monotonic() + timeout if timeout else math.inf
        self.log = logging.getLogger("plugin")
        self._agent = agent
        self._cancelled = False
        self._interruptible = False
        self._next_progress = -math.inf

    @property
    def cancelled(self) -> bool:
        """True once the agent has asked to stop: finish or undo the step at hand and raise Cancelled.

        A plugin that goes on is killed after the agent's grace period.
        """
        return self._cancelled

    def raise_if_cancelled(self) -> None:
        """Raise Cancelled once the agent has asked to stop: for the top of a loop whose steps undo nothing."""
        if self._cancelled:
            raise Cancelled("stopped because the agent asked to")

    def interruptible(self) -> "_Interruptible":
        """Let the agent's request to stop end what is waited for in a `with` block, by raising Cancelled there.

            with ctx.interruptible():
                answer = connection.recv(1024)

        Put nothing in it that must not be left half done, nor what catches every Exception: it would catch this one.
        """
        return _Interruptible(self)

    @property
    def trace_id(self) -> str:
        """The trace that the instruction belongs to, 32 hexadecimal digits; empty where there is none."""
        return self.trace_headers().get("traceparent", "-").split("-")[1]

    def trace_headers(self) -> Dict[str, str]:
        """Headers that make an HTTP request part of the instruction's trace (W3C Trace Context)."""
        parent = os.environ.get("TRACEPARENT", "")
        parts = [len(part) for part in parent.split("-")]
        return {"traceparent": parent} if parts[:4] == [2, 32, 16, 2] else {}

    @property
    def remaining(self) -> float:
        """Seconds until the deadline, never below 0; infinite without a limit."""
        return max(0.0, self.deadline - time.monotonic())

    def progress(self, percent: float, message: str = "") -> None:
        """Tell how far the work is, 0 to 100, for people who watch.

        At most one call a second is sent, the others are dropped; a call that
        the agent does not take is logged, since no work should fail over it.
        """
        now = time.monotonic()
        if now < self._next_progress:
            return
        self._next_progress = now + _PROGRESS_SECONDS
        if self._agent is None:
            self.log.info("%d %% %s", percent, message)
            return
        try:
            self._agent.call("progress", {"percent": percent, "message": message})
        except AgentError as error:
            self.log.warning("%s", error)

    def sleep(self, seconds: float) -> None:
        """Sleep, but return within 0.1 seconds of a cancellation."""
        end = time.monotonic() + seconds
        # Slices, because a wait on threading.Event could deadlock with a signal
        # handler that sets it on the same thread.
        while not self._cancelled and time.monotonic() < end:
            time.sleep(max(0.0, min(_LOOK_SECONDS, end - time.monotonic())))

    def cancel(self) -> None:
        """Make `cancelled` true. Called by the SDK; safe in a signal handler."""
        self._cancelled = True
        if self._interruptible:
            self._interruptible = False  # once, so that cleaning up is not interrupted
            self.raise_if_cancelled()


class _Interruptible:
    """A block in which a run's cancellation is raised. A class, since contextlib is not loaded at a start."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._context._interruptible = True  # before the look, or a signal between the two would be lost
        if self._context.cancelled:
            self._context._interruptible = False
            self._context.raise_if_cancelled()

    def __exit__(self, *_: object) -> None:
        self._context._interruptible = False
