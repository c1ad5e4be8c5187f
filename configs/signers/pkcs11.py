#!/usr/bin/env python3
"""api.auth.signer_command for a key in a PKCS#11 module, by OpenSC's pkcs11-tool.

    signer_command: [/etc/stavily/pkcs11.py, --module, /usr/lib/softhsm/libsofthsm2.so,
                     --token, agent, --id, "01", --pin-file, /etc/stavily/hsm.pin]

The key is made once, as the agent's user:

    pkcs11-tool --module M --token-label agent --login --keypairgen --key-type EC:secp384r1 --id 01
"""
import argparse
import base64
import json
import os
import re
import subprocess
import sys
import tempfile

# SubjectPublicKeyInfo of P-384 up to the point itself (RFC 5480).
P384 = bytes.fromhex("3076301006072a8648ce3d020106052b81040022036200")

# What PKCS #1 v1.5 puts before a digest, by its size (RFC 8017, section 9.2).
DIGEST_INFO = {
    32: bytes.fromhex("3031300d060960864801650304020105000420"),
    48: bytes.fromhex("3041300d060960864801650304020205000430"),
    64: bytes.fromhex("3051300d060960864801650304020305000440"),
}


def arguments():
    parser = argparse.ArgumentParser()
    for name in ("--module", "--token", "--id", "--pin-file"):
        parser.add_argument(name, required=True)
    return parser.parse_args()


def tool(args, *more):
    with open(args.pin_file) as f:
        environment = dict(os.environ, STAVILY_HSM_PIN=f.readline().strip())
    command = ["pkcs11-tool", "--module", args.module, "--token-label", args.token, "--id", args.id,
               "--login", "--pin", "env:STAVILY_HSM_PIN"]
    done = subprocess.run(command + list(more), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.decode(errors="replace").strip() or "pkcs11-tool failed")
    return done.stdout


def point_of(listing, key_id):
    """The point of an EC key: some versions of pkcs11-tool list it and cannot read it."""
    for item in re.split(r"(?m)^(?=Public Key Object)", listing):
        if re.search(r"ID:\s*%s\s*$" % re.escape(key_id), item, re.MULTILINE):
            point = re.search(r"EC_POINT:\s*([0-9a-f]+)", item)
            return bytes.fromhex(point.group(1))[-97:] if point else None
    raise RuntimeError("the module lists no public key with the id " + key_id)


def public(args, directory):
    point = point_of(tool(args, "--list-objects", "--type", "pubkey").decode(), args.id)
    if point:
        der = P384 + point
    else:
        path = os.path.join(directory, "public")
        tool(args, "--read-object", "--type", "pubkey", "-o", path)
        with open(path, "rb") as f:
            der = f.read()
    body = base64.encodebytes(der).decode()
    return {"public_key": "-----BEGIN PUBLIC KEY-----\n" + body + "-----END PUBLIC KEY-----\n"}


def sign(args, directory, request):
    digest, signature = os.path.join(directory, "digest"), os.path.join(directory, "signature")
    content = base64.b64decode(request["digest"])
    hash_name = request["hash"].replace("-", "")
    if request["scheme"] == "ecdsa":
        how = ["--mechanism", "ECDSA", "--signature-format", "openssl"]
    elif request["scheme"] == "rsa-pss":
        how = ["--mechanism", "RSA-PKCS-PSS", "--hash-algorithm", hash_name, "--mgf", "MGF1-" + hash_name,
               "--salt-len", str(request["salt_length"])]
    else:
        how = ["--mechanism", "RSA-PKCS"]
        content = DIGEST_INFO[len(content)] + content
    with open(digest, "wb") as f:
        f.write(content)
    tool(args, "--sign", *how, "-i", digest, "-o", signature)
    with open(signature, "rb") as f:
        return {"signature": base64.b64encode(f.read()).decode()}


def answer(args, line):
    request = json.loads(line)
    with tempfile.TemporaryDirectory() as directory:
        if request["op"] == "public":
            return public(args, directory)
        return sign(args, directory, request)


def main():
    args = arguments()
    for line in sys.stdin:
        try:
            reply = answer(args, line)
        except (RuntimeError, OSError, KeyError, ValueError) as problem:
            reply = {"error": str(problem)}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
