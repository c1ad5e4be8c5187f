"""An action that does what its parameters say."""

import json
import os
import subprocess
import sys

import stavily


def divide(value):
    return value / 0


@stavily.action
def act(params, ctx):
    if params.do == "print":
        print("printed", "\udc80")
        os.write(1, b"written to descriptor 1\n")
        subprocess.run([sys.executable, "-c", "print('printed by a child')"], check=True)
    elif params.do == "read":
        return {"read": sys.stdin.read()}
    elif params.do == "divide":
        divide(1)
    elif params.do == "parse":
        json.loads("{")
    elif params.do == "exit":
        sys.exit(3)
    elif params.do == "refuse":
        raise stavily.Refused("only below /srv")
    elif params.do == "fail":
        raise stavily.Failed("exit code 3", result={"exit_code": 3})
    elif params.do == "not json":
        return {"result": {1, 2}}
    elif params.do == "nan":
        return float("nan")
    elif params.do == "large":
        return "x" * (1 << 20)
    elif params.do == "log":
        ctx.log.debug("unseen")
        ctx.log.warning("two\nlines")
    elif params.do == "progress":
        ctx.progress(40, "first")
        ctx.progress(41, "dropped")
    elif params.do == "wait":
        ctx.log.info("waiting")
        ctx.sleep(60)
        raise stavily.Cancelled("after 1 of 2", result={"done": 1})
    return {
        "instruction": ctx.instruction_id,
        "key": ctx.idempotency_key,
        "config": ctx.config.as_dict(),
        "remaining": ctx.remaining if ctx.remaining < 1e9 else None,
    }


if __name__ == "__main__":
    stavily.run()
