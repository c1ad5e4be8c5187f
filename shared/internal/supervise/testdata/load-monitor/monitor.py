#!/usr/bin/env python3
"""A monitor as the original agents ran it: flags in, calls of the agent's socket out, for ever."""
import argparse
import json
import os
import socket
import time

parser = argparse.ArgumentParser()
parser.add_argument("--load-trigger-threshold", type=float, default=4)
parser.add_argument("--hosts", nargs="+", default=[])
parser.add_argument("--verbose", action="store_true")
args = parser.parse_args()


def call(method, params):
    """One connection for each call."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(os.environ["STAVILY_AGENT_SOCKET"])
        connection.sendall((json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}) + "\n").encode())
        return json.loads(connection.makefile().readline())["result"]


call("ping", {})
print("threshold is", args.load_trigger_threshold, flush=True)
for host in args.hosts:
    answer = call("report_trigger", {"trigger_name": "load_high", "severity": "warning", "payload": {"host": host, "limit": args.load_trigger_threshold}})
    assert answer["accepted"], answer
call("upload_logs", {"logs": [{"level": "INFO", "message": "reported", "timestamp": "2026-01-02T03:04:05"}]})
while True:
    time.sleep(60)
