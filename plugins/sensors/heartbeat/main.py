"""Emits an event at every check, so that its absence tells that something is down."""

import stavily


@stavily.sensor(interval=60)
def heartbeat(config, emit, state):
    """Emit heartbeat, with a number that grows by one each time, also over restarts."""
    sequence = state.get("sequence", 0) + 1
    emit("heartbeat", data={"sequence": sequence, "uptime_seconds": uptime()}, severity="low", key=config.label)
    # After the event: a number that is missing is an event that was lost.
    state["sequence"] = sequence


def uptime():
    """Seconds since the host was started, None where it does not say."""
    try:
        with open(stavily.host.proc("uptime"), encoding="ascii") as file:
            return float(file.read().split()[0])
    except OSError:
        return None


if __name__ == "__main__":
    stavily.run()
