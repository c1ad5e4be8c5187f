"""As written for the original agents: contract script, one connection a call to the agent socket."""
import json
import os
import socket
import sys
import time


def call(method, params):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.connect(os.environ["STAVILY_AGENT_SOCKET"])
    s.sendall((json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}) + "\n").encode())
    data = b""
    while not data.endswith(b"\n"):
        chunk = s.recv(4096)
        if not chunk:
            break
        data += chunk
    s.close()
    return json.loads(data.decode())["result"]


call("ping", {})
info = call("get_agent_info", {})
call("upload_logs", {"logs": [{"level": "info", "message": "watching", "timestamp": "2026-01-02T03:04:05Z"}]})
answer = call("report_trigger", {"trigger_name": "old.socket", "severity": "high",
                                 "payload": {"arguments": sys.argv[1:], "agent": info["agent_id"]}})
assert answer["accepted"] and answer["event_id"]
while True:
    time.sleep(60)
