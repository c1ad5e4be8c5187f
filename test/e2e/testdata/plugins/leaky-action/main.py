"""Says what it was given in every way in which plugins do by accident."""
import base64
import hashlib
import json
import os
import sys
import urllib.parse

with open(os.environ["STAVILY_INPUT_FILE"]) as f:
    given = json.load(f)["input_data"]
token = given["headers"]["auth"][1]
secret = token[len("Bearer "):]
basic = base64.b64encode(("user:" + secret).encode()).decode()
print("curl -H 'Authorization: " + token + "'", file=sys.stderr)
print("basic " + basic + " hex " + secret.encode().hex(), file=sys.stderr)
print(json.dumps({"request": given}), file=sys.stderr)
print("https://h/?t=" + urllib.parse.quote(secret), file=sys.stderr)
if given.get("crash"):
    raise RuntimeError("login with " + secret + " refused")
print(json.dumps({
    "sha256": hashlib.sha256(secret.encode()).hexdigest(),
    "nested": [{"list": [secret, {secret: secret}]}],
    "basic": basic,
    "bytes": base64.urlsafe_b64encode(secret.encode()).decode(),
    "text": json.dumps({"again": json.dumps({"token": secret})}),
}))
