"""A plugin that shakes hands and then does what sys.argv[1] says."""
import json
import os
import signal
import sys
import time

mode = sys.argv[1]
out = sys.stdout.buffer


def say(action, **more):
    out.write(json.dumps({"action": action, "success": True, **more}).encode() + b"\n")
    out.flush()


def misbehave():
    if mode == "rubbish":
        while True:
            out.write(b"\xff\xfe rubbish \x00\n")
    if mode == "flood":  # 1 GiB and no newline
        for _ in range(1 << 10):
            out.write(b"x" * (1 << 20))
        out.flush()
    if mode == "hang":
        time.sleep(1000)
    if mode == "die":
        sys.exit("the disk is on fire")
    if mode == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if mode == "close":
        os.close(1)
        time.sleep(1000)
    if mode == "utf8":
        out.write(b"log \xc3\x28 line\n")
        os.write(2, b"\xff\xfe\xfd\n")
        say("detect_triggers", data="answered")
    if mode == "long":
        say("detect_triggers", data="x" * (1 << 20))
    if mode == "stderr":
        for i in range(20000):
            print("line", i, file=sys.stderr)
        say("detect_triggers")
    if mode == "push":
        for i in range(3):
            out.write(json.dumps({"event": {"type": "pushed", "data": {"n": i}}}).encode() + b"\n")
        out.write(b'{"log": {"level": "warn", "message": "by protocol"}}\n{"progress": {"percent": 50, "message": "half"}}\n')
        say("detect_triggers")
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(1000)
            os._exit(0)
        say("detect_triggers")
        time.sleep(1000)


if mode == "deaf":
    while True:
        time.sleep(1000)
for line in sys.stdin:
    action = json.loads(line)["action"]
    if action == "detect_triggers":
        misbehave()
    else:
        say(action, data={"protocol": 2})
