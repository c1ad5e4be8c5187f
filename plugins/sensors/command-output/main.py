"""Runs a program and tells when it fails, when a number in its output is too high or low, or when the output changes."""

import hashlib
import os

import stavily
from stavily.tools.bounded import Limit, TooSlow, compiled
from stavily.tools.program import ending, run

# What is kept of an output and repeated in an event, in bytes and characters; seconds for one expression.
MOST, SHOWN, MATCHING = 1 << 18, 4000, 1.0


@stavily.sensor(interval=60)
def command_output(config, emit, state):
    """Emit command.failed, command.value.high, command.value.low and command.changed, and .ok when it is over."""
    command = list(config.command)
    if not os.path.isabs(command[0]):
        raise stavily.Failed("the program must be named by its absolute path, is {!r}".format(command[0]))
    pattern, value = (compiled(key, config.get(key)) if config.get(key) else None for key in ("pattern", "value"))
    ended = run(command, seconds=config.timeout, most=MOST)
    data = {"command": command, "exit_code": ended.exit_code, "output": ended.stdout[:SHOWN], "stderr": ended.stderr[-SHOWN:]}
    problem, number = look(ended, pattern, value, config)
    judge("command", "failed" if problem else "ok", config.checks, {**data, "problem": problem}, command[0], emit, state)
    if problem:
        return
    if number is not None:
        judge("command.value", level(number, config), 1, {**data, "value": number}, command[0], emit, state)
    if config.on_change:
        changed(ended.stdout, data, command[0], emit, state)


def look(ended, pattern, value, config):
    """What is wrong, "" when nothing is, and the number in the output, None without one."""
    if ended.stopped:
        return ended.stopped, None
    if ended.exit_code not in config.ok_exit_codes:
        return ending(ended.exit_code, ended.stderr), None
    try:
        with Limit(MATCHING):
            if pattern is not None and not pattern.search(ended.stdout):
                return "the output does not have {!r}".format(config.get("pattern")), None
            found = value.search(ended.stdout) if value is not None else None
        if value is None:
            return "", None
        return "", float(found.group(1))
    except TooSlow as error:
        return "searching the output {}: make pattern or value simpler".format(error), None
    except (AttributeError, IndexError, TypeError, ValueError):  # not found, no group, an empty group, no number
        return "the output has no number where {!r} looks for it".format(config.get("value")), None


def level(number, config):
    """What a number means: high, low or ok."""
    if config.get("above") is not None and number > config.get("above"):
        return "high"
    return "low" if config.get("below") is not None and number < config.get("below") else "ok"


def judge(topic, now, checks, data, key, emit, state):
    """Emit when what is found has changed, and has been so for long enough."""
    seen = state.get(topic) or {"told": "ok", "now": "ok", "checks": 0}
    count = seen["checks"] + 1 if now == seen["now"] else 1
    told = seen["told"]
    # The state follows the event: what could not be emitted is tried again at the next check.
    if now != told and (now == "ok" or count >= checks):
        emit(topic + "." + now, data=data, severity="low" if now == "ok" else "high", key=key)
        told = now
    state[topic] = {"told": told, "now": now, "checks": min(count, checks)}


def changed(output, data, key, emit, state):
    """Emit when the output is another one than before."""
    digest = hashlib.sha256(output.encode("utf-8", "replace")).hexdigest()
    if state.get("digest") not in (None, digest):
        emit("command.changed", data=data, severity="medium", key=key)
    state["digest"] = digest


if __name__ == "__main__":
    stavily.run()
