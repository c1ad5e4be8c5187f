"""Connects to a port and tells when nobody is there, or the wrong one."""

import contextlib
import re
import socket
import time

import stavily
from stavily.tools.bounded import Limit, TooSlow, compiled

# What of an answer is searched, in bytes, and for how many seconds at most.
MOST, MATCHING = 1 << 16, 1.0


@stavily.sensor(interval=30)
def tcp_check(config, emit, state):
    """Emit tcp.down when config.checks checks in a row failed, tcp.up when one succeeds again."""
    host, port = parse(config.address)
    pattern = compiled("expect", config.get("expect")) if config.get("expect") else None
    begin = time.monotonic()
    problem = ask(host, port, config.send.encode(), pattern, begin + config.timeout)
    data = {"address": config.address, "problem": problem, "seconds": round(time.monotonic() - begin, 3)}
    seen = state.get("seen") or {"down": False, "checks": 0}
    down, checks = seen["down"], seen["checks"] + 1 if problem else 0
    # The state follows the event: what could not be emitted is tried again at the next check.
    if not down and checks >= config.checks:
        emit("tcp.down", data={**data, "checks": checks}, severity="high", key=config.address)
        down = True
    elif down and checks == 0:
        emit("tcp.up", data={**data, "checks": 0}, severity="low", key=config.address)
        down = False
    state["seen"] = {"down": down, "checks": min(checks, config.checks)}


def parse(address):
    """Host and port; Failed with a sentence for what is neither."""
    match = re.match(r"^(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]+)):(\d{1,5})$", address)
    if not match or not 0 < int(match.group(3)) < 65536:
        raise stavily.Failed("address must be host:port, with an IPv6 address in brackets, is {!r}".format(address))
    return match.group(1) or match.group(2), int(match.group(3))


def ask(host, port, words, pattern, end):
    """What is wrong with who listens there, "" when nothing is."""
    try:
        with socket.create_connection((host, port), max(0.01, end - time.monotonic())) as connection:
            connection.sendall(words)
            if pattern is not None:
                return search(connection, pattern, end)
            return settle(connection, end)
    except socket.timeout:
        return "no answer from {} port {} in time".format(host, port)
    except OSError as error:
        return "no connection to {} port {}: {}".format(host, port, error.strerror or error)


def search(connection, pattern, end):
    """Read until the expression is found, the other side ends, or the time is up."""
    heard = b""
    while True:
        try:
            with Limit(MATCHING):
                if pattern.search(heard.decode("utf-8", "replace")):
                    return ""
        except TooSlow as error:
            return "searching the answer {}: make the expression simpler".format(error)
        try:
            connection.settimeout(max(0.01, end - time.monotonic()))
            chunk = connection.recv(MOST)
        except socket.timeout:
            chunk = b""
        heard += chunk
        if not chunk or len(heard) > MOST:
            return "the answer does not have {!r}, is {!r}".format(pattern.pattern, heard[:200].decode("utf-8", "replace"))


def settle(connection, end):
    """See that somebody is there.

    In the sandbox the agent takes the connection and only then makes its own to
    the host, so that being connected says nothing. It passes on that we have
    nothing to say: servers then say something or hang up, while a host that is
    not there is a reset. Silence tells nothing, unless the connection is direct.
    """
    with contextlib.suppress(OSError):  # reset meanwhile: recv tells so, with the reason
        connection.shutdown(socket.SHUT_WR)
    connection.settimeout(max(0.01, end - time.monotonic()))
    try:
        connection.recv(1)
        return ""
    except socket.timeout:
        ours, theirs = connection.getsockname()[0], connection.getpeername()[0]
        if ours != theirs and not ours.startswith("127."):
            return ""
        return "silence: whether anybody is there cannot be told: set send and expect, or a timeout of more than 20 seconds"


if __name__ == "__main__":
    stavily.run()
