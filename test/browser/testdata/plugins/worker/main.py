"""Says a line a step, with a pause before each, and returns how many."""
import json
import os
import sys
import time

with open(os.environ["STAVILY_INPUT_FILE"]) as f:
    given = json.load(f)["input_data"]
if "token" in given:
    print("the token is {}, of {} characters".format(given["token"], len(given["token"])), file=sys.stderr, flush=True)
for n in range(1, given["steps"] + 1):
    time.sleep(given.get("pause", 0.2))
    print("step {} of {}".format(n, given["steps"]), file=sys.stderr, flush=True)
print(json.dumps({"done": given["steps"], "note": "<b>not markup</b>"}))
