"""Restarts, starts or stops a container that the host's owner allowed, through the Docker socket."""

import http.client
import json
import socket
import time
import urllib.parse

import stavily

# A version of the Engine API that every Docker since 2017 and Podman speak.
VERSION = "/v1.30"
# Seconds that the engine has for an answer besides the time to stop, and between two looks; bytes of an answer that are read.
PATIENCE, LOOK, MOST = 20, 0.2, 1 << 20


class Engine(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        """Connect to the socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@stavily.action
def container_restart(params, ctx):
    """Do params.operation with params.container, wait until it is done, and return its state."""
    if params.container not in ctx.config.containers:
        told = "{} is not among the containers that this host allows: {}"
        raise stavily.Refused(told.format(params.container, ", ".join(ctx.config.containers) or "none"))
    begin = time.monotonic()
    before = look(params.container, ctx)
    ctx.log.info("%s %s, which is %s", params.operation, params.container, before["status"])
    query = "" if params.operation == "start" else "?" + urllib.parse.urlencode({"t": params.stop_seconds})
    ask("POST", "/containers/{}/{}{}".format(params.container, params.operation, query), PATIENCE + params.stop_seconds, ctx)
    after = wait(params, ctx, time.monotonic() + min(params.timeout, ctx.remaining))
    return {**after, "before": before["status"], "duration_seconds": round(time.monotonic() - begin, 3)}


def ask(method, path, timeout, ctx):
    """Ask the engine; its answer as JSON, None where it has no content."""
    engine = Engine(ctx.config.socket, max(0.1, min(timeout, ctx.remaining)))
    try:
        engine.request(method, VERSION + path)
        response = engine.getresponse()
        content = response.read(MOST)
        document = json.loads(content) if content.strip() else None
    except (FileNotFoundError, PermissionError, ConnectionRefusedError) as error:
        told = "cannot reach Docker at {}: {}: see that it runs, that the agent's user is in the group docker, and that the socket is granted"
        raise stavily.Failed(told.format(ctx.config.socket, error.strerror)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise stavily.Failed("no answer from Docker at {}: {}".format(ctx.config.socket, error or type(error).__name__)) from error
    finally:
        engine.close()
    if response.status >= 400:
        reason = document.get("message") if isinstance(document, dict) else response.reason
        raise stavily.Failed("Docker refuses: {} {}".format(response.status, reason))
    return document


def look(container, ctx):
    """The state of a container: status is running, exited, restarting …; health is "" without a health check."""
    document = ask("GET", "/containers/{}/json".format(container), PATIENCE, ctx)
    try:
        state = document["State"]
        return {
            "container": document["Name"].lstrip("/"),
            "id": document["Id"][:12],
            "status": state["Status"],
            "health": (state.get("Health") or {}).get("Status", ""),
            "exit_code": state.get("ExitCode"),
            "started_at": state.get("StartedAt"),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise stavily.Failed("what answers at {} is not Docker".format(ctx.config.socket)) from error


def wait(params, ctx, end):
    """The state of the container when it has been for long enough what it should be."""
    since = None
    while True:
        now = look(params.container, ctx)
        if params.operation == "stop":
            right, pending = now["status"] in ("exited", "dead"), True
        else:
            right = now["status"] == "running" and now["health"] in ("", "none", "healthy")
            pending = now["status"] in ("restarting", "created", "running") and now["health"] != "unhealthy"
        if right:
            since = since or time.monotonic()
            if time.monotonic() >= since + params.settle_seconds:
                return now
        elif not pending:
            told = "{} is {} after {} (exit code {}): `docker logs {}` says why"
            how = now["health"] if now["status"] == "running" else now["status"]
            raise stavily.Failed(told.format(params.container, how, params.operation, now["exit_code"], params.container), now)
        else:
            since = None
        if ctx.cancelled:
            raise stavily.Cancelled("cancelled while {} is {}".format(params.container, now["status"]), now)
        if time.monotonic() >= end:
            told = "{} is {} {} when the time is up"
            raise stavily.Failed(told.format(params.container, now["status"], now["health"]).replace("  ", " "), now)
        ctx.sleep(LOOK)


if __name__ == "__main__":
    stavily.run()
