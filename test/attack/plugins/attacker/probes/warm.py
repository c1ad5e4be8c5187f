"""What the agent gives the plugin: its socket, and the parent that forks warm runs."""

import json
import os
import signal
import socket
import time

from ._probe import ALONE, SUPERVISED, Blocked, NotApplicable, probe

_AGENT_ANSWERS = "the agent knows who calls by the socket"


def ask(method, params=None):
    """One call to the agent."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(5)
    s.connect(os.environ["STAVILY_AGENT_SOCKET"])
    s.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}).encode() + b"\n")
    answer = json.loads(s.makefile("rb").readline())
    if "error" in answer:
        raise Blocked(answer["error"]["message"])
    return answer["result"]


@probe(control=_AGENT_ANSWERS)
def report_as_action(bait):
    """Report an event, which only sensors may."""
    return repr(ask("report_trigger", {"trigger_name": "attack.forged", "payload": {}}))


@probe(control=_AGENT_ANSWERS)
def configuration_of_others(bait):
    """Ask the agent for another plugin's configuration and for its own."""
    for section in ("neighbour", "agent", "api", "security", "../neighbour"):
        try:
            answer = ask("get_config", {"section": section})
        except Blocked:
            continue
        if answer.get("config"):
            return repr(answer)
    raise Blocked("nothing but its own")


@probe(control=SUPERVISED, kind=ALONE)
def flood_agents_socket(bait):
    """Keep the agent busy: hundreds of connections, thousands of calls, a line without end."""
    held = []
    for _ in range(200):
        s = socket.socket(socket.AF_UNIX)
        s.setblocking(False)
        try:
            s.connect(os.environ["STAVILY_AGENT_SOCKET"])
        except OSError:
            pass
        held.append(s)
    for s in held:
        try:
            s.send(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n' * 100)
            s.send(b"[" * 200000)
        except OSError:
            continue
    raise Blocked("what became of the agent is seen from outside")


@probe(control=SUPERVISED)
def forge_answer(bait):
    """Answer the agent in the name of another run, with nonsense before the real answer."""
    for fd in range(3, 32):
        try:
            os.write(fd, b'{"action":"execute_action","id":"other","success":true,"data":{"status":"completed"}}\n')
        except OSError:
            continue
    raise Blocked("it was one's own answer at most")


@probe(control="there is no other parent than the agent", kind=ALONE)
def kill_parent_that_forks(bait):
    """End the process from which warm runs are forked."""
    parent = os.getppid()
    if parent in (0, bait["agent_pid"]):
        raise Blocked("there is none to be named")
    try:
        os.kill(parent, signal.SIGKILL)
    except OSError as error:
        raise Blocked("refused: {}".format(error.strerror)) from error
    time.sleep(0.2)
    if os.getppid() == parent:
        raise Blocked("it lives on")
    return "it is gone"


@probe(kind=ALONE)
def kill_keeper(bait):
    """End the process that ends leftovers when the agent dies."""
    pids = bait["keeper_pids"]
    if not pids:
        raise NotApplicable("there is no keeper")
    for pid in pids:
        os.kill(pid, signal.SIGWINCH)  # which nobody minds; if that can be sent, so can KILL
    return "it can be signalled"


@probe(control="a run has no descriptor of it")
def reach_forking_channel(bait):
    """Order runs of one's own by the channel on which the agent orders warm ones."""
    for fd in range(3, 64):
        try:
            kind = socket.socket(fileno=os.dup(fd)).type
        except OSError:
            continue
        if kind == socket.SOCK_SEQPACKET:
            return "descriptor {} is such a channel".format(fd)
    raise Blocked("there is none")
