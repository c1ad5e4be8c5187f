"""Tells when a systemd unit is not running, and when it is again."""

import stavily
from stavily.tools.dbus import Bus, BusError

SYSTEMD, MANAGER = "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager"
# Seconds that the bus has for an answer.
PATIENCE = 10
# States in which a unit does what it is for.
UP = frozenset(["active", "reloading", "refreshing"])


@stavily.sensor(interval=30)
def service(config, emit, state):
    """Emit service.down for each unit that is not active for config.checks checks, service.up when it is again."""
    try:
        with Bus(config.bus, PATIENCE) as bus:
            for unit in list_units(bus, list(config.units)):
                judge(unit, bus, config, emit, state)
    except BusError as error:
        told = "systemd cannot be asked: {}: set `bus` to the system bus's socket, and allow it under `read`"
        raise stavily.Failed(told.format(error)) from error


def list_units(bus, names):
    """What systemd says about units, in the order of their names, also of those that it does not have."""
    (found,) = bus.call(SYSTEMD, "/org/freedesktop/systemd1", MANAGER, "ListUnitsByNames", names)
    return [
        {"unit": row[0], "description": row[1], "load_state": row[2], "active_state": row[3], "sub_state": row[4], "path": row[6]}
        for row in found
    ]


def judge(unit, bus, config, emit, state):
    """Emit when a unit has been down for long enough, or is up again."""
    name, path = unit["unit"], unit.pop("path")
    seen = state.get(name) or {"down": False, "checks": 0}
    down, checks = seen["down"], 0 if unit["active_state"] in UP else seen["checks"] + 1
    # The state follows the event: what could not be emitted is tried again at the next check.
    if not down and checks >= config.checks:
        emit("service.down", data={**unit, "result": result(bus, unit, path), "checks": checks}, severity="high", key=name)
        down = True
    elif down and checks == 0:
        emit("service.up", data={**unit, "result": "success", "checks": 0}, severity="low", key=name)
        down = False
    state[name] = {"down": down, "checks": min(checks, config.checks)}


def result(bus, unit, path):
    """Why a service ended (exit-code, signal, oom-kill, timeout …); "" where systemd does not know."""
    if not unit["unit"].endswith(".service") or unit["load_state"] != "loaded":
        return ""
    try:
        interface = "org.freedesktop.systemd1.Service"
        return str(bus.call(SYSTEMD, path, "org.freedesktop.DBus.Properties", "Get", interface, "Result")[0])
    except BusError:  # it has been unloaded since
        return ""


if __name__ == "__main__":
    stavily.run()
