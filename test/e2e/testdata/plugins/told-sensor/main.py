"""Reports each file {"trigger_name": …, "payload": …} of a directory once, by name."""
import argparse
import json
import os
import socket
import time

parser = argparse.ArgumentParser()
parser.add_argument("--directory")
directory = parser.parse_args().directory
agent = socket.socket(socket.AF_UNIX)
agent.connect(os.environ["STAVILY_AGENT_SOCKET"])
answers = agent.makefile("rb")
seen = set()
while True:
    for name in sorted(set(os.listdir(directory)) - seen):
        if not name.endswith(".json"):
            continue
        seen.add(name)
        with open(os.path.join(directory, name)) as file:
            params = json.load(file)
        agent.sendall(json.dumps({"jsonrpc": "2.0", "id": len(seen), "method": "report_trigger", "params": params}).encode() + b"\n")
        answer = json.loads(answers.readline())
        if not answer.get("result", {}).get("accepted"):
            raise SystemExit("not accepted: {}".format(answer))
    time.sleep(0.1)
