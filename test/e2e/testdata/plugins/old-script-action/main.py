"""As written for the original agents: contract script, reads its input file, prints a JSON result."""
import json
import os

with open(os.environ["STAVILY_INPUT_FILE"]) as f:
    given = json.load(f)
print(json.dumps({"doubled": 2 * given["input_data"]["n"], "instruction": os.environ["STAVILY_INSTRUCTION_ID"]}))
