"""What an action or an output knows about the run it is in."""

import logging
import math
import time
from typing import Any, Mapping, Optional

from ._agent import Agent, AgentError
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
        self._next_progress = -math.inf

    @property
    def cancelled(self) -> bool:
        """True once the agent has asked to stop: finish or undo the step at hand and raise Cancelled.

        A plugin that goes on is killed after the agent's grace period.
        """
        return self._cancelled

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
