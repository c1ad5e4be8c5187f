"""As written for the original agents: contract stdio, and logs printed to standard output."""
import json
import sys

print("loading")
config = {}
fired = False
for line in sys.stdin:
    command = json.loads(line)
    action = command["action"]
    print("handling", action)
    response = {"action": action, "success": True}
    if action == "get_info":
        response["data"] = {"id": "old-chatty-sensor", "name": "Old", "version": "1.0.0", "type": "trigger"}
    elif action == "initialize":
        config = command["config"]
    elif action == "detect_triggers":
        response["data"] = None
        if not fired:
            fired = True
            response["data"] = {"id": "x1", "type": "old.chatty", "source": "old-chatty-sensor",
                                "timestamp": "2026-01-02T03:04:05Z", "severity": "high",
                                "data": {"level": config.get("level")}, "metadata": {}, "tags": []}
    print(json.dumps(response))
    sys.stdout.flush()
