"""A sensor that does what its configuration says."""

import time

import stavily

print("printed at import")


@stavily.sensor(interval=5)
def sense(config, emit, state, log):
    state["calls"] = state.get("calls", 0) + 1
    if config.get("sleep"):
        log.info("sleeping")
        time.sleep(config.sleep)
    if config.get("returns"):
        return {"type": "never.seen"}
    log.info("id %s", emit("test.fired", data={"calls": state["calls"]}, severity="high", key="k"))
    if config.get("fails"):
        raise stavily.Failed("no such queue")


if __name__ == "__main__":
    stavily.run()
