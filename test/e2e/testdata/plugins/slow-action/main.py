"""Notes "begin" and, after `seconds`, "end" in the file "effects" in its home."""
import json
import os
import time

with open(os.environ["STAVILY_INPUT_FILE"]) as f:
    params = json.load(f)["input_data"]


def note(word):
    out = os.open(os.path.join(os.environ["HOME"], "effects"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(out, (word + "\n").encode())
    os.close(out)


note("begin")
time.sleep(params["seconds"])
note("end")
