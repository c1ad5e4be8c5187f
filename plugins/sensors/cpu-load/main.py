"""Tells when the processors are busy, or more wants to run than they can do, for several checks in a row."""

import stavily


@stavily.sensor(interval=20)
def cpu_load(config, emit, state):
    """Emit cpu.high and cpu.load.high after config.checks checks above their thresholds, and .ok when it is over."""
    total, idle, processors = read_times()
    busy = busy_percent(state.get("times"), (total, idle))
    state["times"] = (total, idle)
    load = round(read_load() / processors, 2)
    data = {"percent": busy, "load_per_processor": load, "processors": processors}
    if busy is not None:
        judge("cpu", busy, config.threshold, data, config, emit, state)
    if config.get("load_threshold") is not None:
        judge("cpu.load", load, config.get("load_threshold"), data, config, emit, state)


def judge(name, value, threshold, data, config, emit, state):
    """Emit when a value has been too high for long enough, or is low enough again."""
    seen = state.get(name) or {"above": 0, "high": False}
    above = seen["above"] + 1 if value > threshold else 0
    high = seen["high"]
    data = {**data, "threshold": threshold, "checks": above}
    # The state follows the event: what could not be emitted is tried again at the next check.
    if not high and above >= config.checks:
        emit(name + ".high", data=data, severity="high", key=name)
        high = True
    elif high and value <= threshold * config.recover_percent / 100:
        emit(name + ".ok", data=data, severity="low", key=name)
        high = False
    state[name] = {"above": min(above, config.checks), "high": high}


def busy_percent(before, now):
    """The part of the processors' time since the last check that was not idle; None when nothing can be compared."""
    if before is None:
        return None
    total, idle = now[0] - before[0], now[1] - before[1]
    if total <= 0 or not 0 <= idle <= total:  # no time has passed, or the host has been restarted
        return None
    return round(100 * (total - idle) / total, 1)


def read_times():
    """All ticks, those that were idle, and the number of processors, as proc_stat(5) has them.

    Waiting for a disk counts as idle, since a processor could do something
    else; time of guests is in user and nice already.
    """
    lines = read("stat").splitlines()
    ticks = [int(field) for field in lines[0].split()[1:9]]
    processors = sum(line.startswith("cpu") for line in lines) - 1
    return sum(ticks), ticks[3] + ticks[4], max(processors, 1)


def read_load():
    """The one-minute load average."""
    return float(read("loadavg").split()[0])


def read(name):
    """A file of the host's /proc."""
    path = stavily.host.proc(name)
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError as error:
        told = "cannot read {}: {}: allow it under `read` in the plugin's file in config/plugins"
        raise stavily.Failed(told.format(path, error.strerror)) from error


if __name__ == "__main__":
    stavily.run()
