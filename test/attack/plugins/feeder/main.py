"""Emits an event for each probe that stands in a file of its own directory."""

import json
import os

import stavily


@stavily.sensor(interval=1)
def feeder(config, emit, state):
    """Emit attack.<kind> for each entry of each order, in order of their names."""
    home = os.environ["HOME"]
    for name in sorted(os.listdir(home)):
        if not name.endswith(".json"):
            continue
        path = os.path.join(home, name)
        with open(path, encoding="utf-8") as file:
            orders = json.load(file)
        os.unlink(path)  # before the first event: an order is carried out at most once
        for order in orders:
            emit("attack." + order["kind"], data=order, key=order["probe"])


if __name__ == "__main__":
    stavily.run()
