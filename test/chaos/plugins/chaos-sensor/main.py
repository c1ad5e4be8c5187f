"""Reports `--rate` events a second for as long as it lives.

Each line of the file "accepted" in its home is "event number nanoseconds": that the agent
said `accepted`, which is after its fsync. What a full disk does not take is written later.
"""

import argparse
import errno
import json
import os
import socket
import time

LINE = 128  # bytes, more than there ever are to write


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float)
    pause = 1 / parser.parse_args().rate
    agent = socket.socket(socket.AF_UNIX)
    agent.connect(os.environ["STAVILY_AGENT_SOCKET"])
    answers = agent.makefile("rb")
    out = os.open(os.path.join(os.environ["HOME"], "accepted"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    number, due, unwritten = 0, time.monotonic(), b""
    while True:
        number += 1
        params = {"trigger_name": "chaos.tick", "payload": {"n": number}}
        agent.sendall(json.dumps({"jsonrpc": "2.0", "id": number, "method": "report_trigger", "params": params}).encode() + b"\n")
        answer = json.loads(answers.readline())
        if "result" in answer:
            line = "{} {} {}".format(answer["result"]["event_id"], number, time.time_ns())
            unwritten += line.ljust(LINE - 1).encode() + b"\n"  # so a kill leaves it whole or out: none goes over the end of a page
        unwritten = write(out, unwritten)
        due = max(due + pause, time.monotonic() - 1)  # what was missed is caught up, of a second at most
        time.sleep(max(0, due - time.monotonic()))


def write(out, text):
    """Writes what the disk takes, and returns what it does not."""
    try:
        return text[os.write(out, text):] if text else text
    except OSError as e:
        if e.errno != errno.ENOSPC:
            raise
        return text


if __name__ == "__main__":
    main()
