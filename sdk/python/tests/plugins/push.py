"""A sensor that waits: each line that is written into config.fifo is an event."""

import stavily


@stavily.sensor(push=True)
def listen(config, emit, state, log):
    try:
        log.info("waiting")
        while True:
            with open(config.fifo) as lines:  # waits until somebody writes
                for line in lines:
                    word = line.strip()
                    if word == "raise":
                        raise ValueError("no such word")
                    if word == "return":
                        return
                    state["lines"] = state.get("lines", 0) + 1
                    emit("line." + word, data={"n": state["lines"]})
    finally:
        log.info("cleaned up")


if __name__ == "__main__":
    stavily.run()
