"""Tells when memory or swap is nearly used up, and when there is room again."""

import stavily


@stavily.sensor(interval=30)
def memory(config, emit, state):
    """Emit memory.high above config.threshold percent, memory.ok when there is room again; the same for swap."""
    table = read_meminfo()
    checks = [("memory", measure(table, "MemTotal", "MemAvailable"), config.threshold)]
    if config.get("swap_threshold") is not None:
        checks.append(("memory.swap", measure(table, "SwapTotal", "SwapFree"), config.get("swap_threshold")))
    for name, usage, threshold in checks:
        data = {**usage, "threshold": threshold}
        high = state.get(name, False)
        # The state follows the event: what could not be emitted is tried again at the next check.
        if usage["percent"] > threshold and not high:
            emit(name + ".high", data=data, severity="high", key=name)
            state[name] = True
        elif usage["percent"] <= threshold * config.recover_percent / 100 and high:
            emit(name + ".ok", data=data, severity="low", key=name)
            state[name] = False


def read_meminfo():
    """What /proc/meminfo of the host says, in bytes by name."""
    path = stavily.host.proc("meminfo")
    try:
        with open(path, encoding="ascii") as file:
            return {name: int(value.split()[0]) * 1024 for name, value in (line.split(":") for line in file)}
    except OSError as error:
        told = "cannot read {}: {}: allow it under `read` in the plugin's file in config/plugins"
        raise stavily.Failed(told.format(path, error.strerror)) from error


def measure(table, total, available):
    """How much of one kind of memory is in use, in bytes and percent; none at all counts as unused."""
    for name in total, available:
        if name not in table:
            raise stavily.Failed("the kernel does not tell {}: it must be Linux 3.14 or newer".format(name))
    used = table[total] - table[available]
    return {
        "percent": round(100 * used / table[total], 1) if table[total] else 0.0,
        "used_bytes": used,
        "available_bytes": table[available],
        "total_bytes": table[total],
    }


if __name__ == "__main__":
    stavily.run()
