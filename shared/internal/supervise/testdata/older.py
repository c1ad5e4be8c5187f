#!/usr/bin/env python3
"""A plugin as the original agents ran it: no SDK, and logs on standard output."""
import json
import logging
import sys

logging.basicConfig(stream=sys.stdout, level=logging.INFO)
print("plugin loading")


def answer(command):
    action = command["action"]
    logging.info("got %s", action)
    if action == "get_info":
        return {"data": {"id": "older", "name": "Older", "version": "1.0.0", "type": "trigger"}}
    if action == "initialize":
        if command["config"].get("threshold") == 0:
            return {"success": False, "error": "threshold must not be 0"}
        config.update(command["config"])
        return {}
    if action in ("start", "stop"):
        return {}
    if action == "detect_triggers":
        return {"data": [{"type": "disk_full", "severity": "warning", "data": config}]}
    if action == "execute_action":
        request = command["action_request"]
        print(json.dumps({"structured": "log", "level": "info"}))
        return {"result": {"id": request["id"], "status": "completed", "data": request["parameters"]}}
    return {"success": False, "error": "unknown action " + action}


config = {}
for line in sys.stdin:
    command = json.loads(line)
    print(json.dumps({"action": command["action"], "success": True, **answer(command)}), flush=True)
print("bye", flush=True)
