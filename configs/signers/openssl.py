#!/usr/bin/env python3
"""api.auth.signer_command with a key file, by openssl: a start for a signer of your
own, such as one that asks a key service.

    signer_command: [/etc/stavily/openssl.py, /etc/stavily/agent.key]

It runs as the agent's user. `sudo -u keyholder` before it keeps the key from that user,
and works only where the service may gain privileges: the unit that the agents install
has NoNewPrivileges=yes.
"""
import base64
import json
import subprocess
import sys


def openssl(*command, stdin=b""):
    done = subprocess.run(["openssl"] + list(command), input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.decode(errors="replace").strip() or "openssl failed")
    return done.stdout


def answer(key, request):
    if request["op"] == "public":
        return {"public_key": openssl("pkey", "-in", key, "-pubout").decode()}
    options = ["-pkeyopt", "digest:" + request["hash"].replace("-", "").lower()]
    if request["scheme"] == "rsa-pss":
        options += ["-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:%d" % request["salt_length"]]
    elif request["scheme"] == "rsa-pkcs1v15":
        options += ["-pkeyopt", "rsa_padding_mode:pkcs1"]
    signature = openssl("pkeyutl", "-sign", "-inkey", key, *options, stdin=base64.b64decode(request["digest"]))
    return {"signature": base64.b64encode(signature).decode()}


def main():
    for line in sys.stdin:
        try:
            reply = answer(sys.argv[1], json.loads(line))
        except (RuntimeError, OSError, KeyError, ValueError) as problem:
            reply = {"error": str(problem)}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
