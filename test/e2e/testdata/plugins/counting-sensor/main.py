"""Reports numbers without end; notes an event's id in "accepted", in its home, once it was accepted."""
import argparse
import json
import os
import socket
import time

parser = argparse.ArgumentParser()
parser.add_argument("--pause", type=float)
parser.add_argument("--say")
args = parser.parse_args()
agent = socket.socket(socket.AF_UNIX)
agent.connect(os.environ["STAVILY_AGENT_SOCKET"])
answers = agent.makefile("rb")
out = os.open(os.path.join(os.environ["HOME"], "accepted"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
n = 0
while True:
    n += 1
    params = {"trigger_name": "count.tick", "payload": {"n": n}}
    agent.sendall(json.dumps({"jsonrpc": "2.0", "id": n, "method": "report_trigger", "params": params}).encode() + b"\n")
    answer = json.loads(answers.readline())
    os.write(out, (answer["result"]["event_id"] + "\n").encode())
    if args.say:
        print(args.say, n, flush=True)
    time.sleep(args.pause)
