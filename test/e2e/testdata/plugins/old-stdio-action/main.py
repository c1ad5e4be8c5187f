"""As written for the original agents: contract stdio, answering with `result` instead of `data`."""
import json
import sys

for line in sys.stdin:
    command = json.loads(line)
    response = {"action": command["action"], "success": True}
    if command["action"] == "execute_action":
        request = command["action_request"]
        sys.stderr.write("working on {}\n".format(request["id"]))
        response["result"] = {"id": request["id"], "status": "completed",
                              "data": {"echo": request["parameters"]}, "error": "",
                              "started_at": "2026-01-02T03:04:05Z", "completed_at": "2026-01-02T03:04:06Z"}
    sys.stdout.write(json.dumps(response) + "\n")
    sys.stdout.flush()
