"""Finds one thing at its first look, and nothing after."""

import stavily


@stavily.sensor(interval=1)
def traced_sensor(config, emit, state):
    """Emit traced.found once."""
    if not state.get("told"):
        emit("traced.found", data={"n": 1}, severity="high")
        state["told"] = True


if __name__ == "__main__":
    stavily.run()
