"""Restarts, starts, stops or reloads a systemd unit that the host's owner allowed, and sees that it runs."""

import time

import stavily
from stavily.tools.dbus import Bus, BusError

SYSTEMD, MANAGER = "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager"
# Seconds that the bus has for an answer, and between two looks at the unit.
PATIENCE, LOOK = 25, 0.2
METHODS = {"restart": "RestartUnit", "start": "StartUnit", "stop": "StopUnit", "reload": "ReloadUnit"}
# Errors that say that this user may not.
FORBIDDEN = ("AccessDenied", "InteractiveAuthorizationRequired", "AuthFailed")
REMEDY = "the agent's user may not do that: give it the right by a rule of polkit (README.md of this plugin has one)"


@stavily.action
def restart_service(params, ctx):
    """Do params.operation with params.unit, wait until it is done, and return the unit's state."""
    if params.unit not in ctx.config.units:
        told = "{} is not among the units that this host allows: {}"
        raise stavily.Refused(told.format(params.unit, ", ".join(ctx.config.units) or "none"))
    begin = time.monotonic()
    try:
        with Bus(ctx.config.bus, PATIENCE) as bus:
            before = look(bus, params.unit)
            ctx.log.info("%s %s, which is %s", params.operation, params.unit, before["active_state"])
            call(bus, METHODS[params.operation], params.unit, "replace")
            after = wait(bus, params, ctx, begin + min(params.timeout, ctx.remaining))
    except BusError as error:
        told = "cannot {} {}: {}".format(params.operation, params.unit, error)
        if error.name.rsplit(".", 1)[-1] in FORBIDDEN:
            told += ": " + REMEDY
        raise stavily.Failed(told) from error
    return {**after, "before": before["active_state"], "duration_seconds": round(time.monotonic() - begin, 3)}


def call(bus, method, *arguments):
    """Call a method of systemd's manager; the one value of its answer."""
    return bus.call(SYSTEMD, "/org/freedesktop/systemd1", MANAGER, method, *arguments)[0]


def look(bus, unit):
    """The state of a unit, and whether a job of it is going on."""
    row = call(bus, "ListUnitsByNames", [unit])[0]
    return {"unit": unit, "active_state": row[3], "sub_state": row[4], "busy": row[7] != 0}


def wait(bus, params, ctx, end):
    """The state of the unit when it has been for long enough what it should be."""
    wanted, since = ("inactive" if params.operation == "stop" else "active"), None
    while True:
        now = look(bus, params.unit)
        busy = now.pop("busy") or now["active_state"] in ("activating", "deactivating", "reloading")
        if busy:
            since = None
        elif now["active_state"] != wanted:
            told = "{} is {} ({}) after {}: `journalctl -u {}` says why"
            raise stavily.Failed(told.format(params.unit, now["active_state"], now["sub_state"], params.operation, params.unit), now)
        else:
            since = since or time.monotonic()
            if time.monotonic() >= since + params.settle_seconds:
                return now
        if ctx.cancelled:
            raise stavily.Cancelled("cancelled while {} is {}: systemd goes on".format(params.unit, now["active_state"]), now)
        if time.monotonic() >= end:
            raise stavily.Failed("{} is still {} when the time is up: systemd goes on".format(params.unit, now["active_state"]), now)
        ctx.sleep(LOOK)


if __name__ == "__main__":
    stavily.run()
