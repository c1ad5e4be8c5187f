"""A stand-in for Docker's engine, for the tests of plugins that ask it: a few calls of its API over a Unix socket.

    python3 docker.py SOCKET

Containers are web, which is healthy 0.2 seconds after it was started, broken, which ends
at once, and sick, which never gets healthy. As a program it says "ready" and ends with its
standard input.
"""

import http.server
import json
import re
import socketserver
import sys
import threading
import time


class Engine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, path):
        super().__init__(path, Handler)
        self.asked, self.started = [], {"web": 1.0, "broken": 1.0, "sick": 1.0}  # None: not running
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self):
        self.shutdown()
        self.thread.join()
        self.server_close()

    def state(self, name):
        started = self.started[name]
        if started is None or name == "broken" and started > 1:
            return {"Status": "exited", "ExitCode": 1 if started else 0, "StartedAt": "2026-01-02T03:04:05Z"}
        health = "healthy" if time.monotonic() > started + 0.2 else "starting"
        if name == "sick" and started > 1:
            health = "unhealthy"
        return {"Status": "running", "ExitCode": 0, "StartedAt": "2026-01-02T03:04:05Z", "Health": {"Status": health}}


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, document=None):
        body = json.dumps(document).encode() if document else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body:  # after an answer without one the client may be gone
            self.wfile.write(body)

    def do_GET(self):
        self.server.asked.append("{} {}".format(self.command, self.path))
        match = re.match(r"^/v1\.\d+/containers/([a-z]+)/(json|restart|start|stop)(\?t=\d+)?$", self.path)
        if not match or (match.group(2) == "json") != (self.command == "GET"):
            return self.answer(404, {"message": "page not found"})
        name, what = match.group(1), match.group(2)
        if name not in self.server.started:
            return self.answer(404, {"message": "No such container: " + name})
        if what == "json":
            return self.answer(200, {"Id": "0123456789abcdef", "Name": "/" + name, "State": self.server.state(name)})
        self.server.started[name] = None if what == "stop" else time.monotonic()
        return self.answer(204)

    do_POST = do_GET

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    engine = Engine(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.read()
    engine.close()
