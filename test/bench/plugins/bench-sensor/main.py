"""Reports --count events, --pause seconds apart, over one connection to the agent socket.

Each line of the file "accepted" in its home is "seq nanoseconds", the wall clock when the agent had answered
`accepted`, which is after its fsync.
"""

import argparse
import json
import os
import socket
import time


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int)
    parser.add_argument("--pause", type=float)
    args = parser.parse_args()
    agent = socket.socket(socket.AF_UNIX)
    agent.connect(os.environ["STAVILY_AGENT_SOCKET"])
    answers = agent.makefile("rb")
    with open(os.path.join(os.environ["HOME"], "accepted"), "a", buffering=1) as out:
        for seq in range(args.count):
            params = {"trigger_name": "bench.tick", "payload": {"seq": seq}}
            call = {"jsonrpc": "2.0", "id": seq, "method": "report_trigger", "params": params}
            agent.sendall(json.dumps(call).encode() + b"\n")
            answer = json.loads(answers.readline())
            accepted = time.time_ns()
            if not answer.get("result", {}).get("accepted"):
                raise SystemExit("not accepted: {}".format(answer))
            out.write("{} {}\n".format(seq, accepted))
            time.sleep(args.pause)
    while True:  # a monitor that ends would be started again
        time.sleep(3600)


if __name__ == "__main__":
    main()
