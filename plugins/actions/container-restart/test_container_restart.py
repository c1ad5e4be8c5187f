import http.server
import json
import os
import socketserver
import sys
import tempfile
import threading
import unittest

import main
import stavily
from stavily.testing import Session, run_action

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "testdata"))
import docker  # noqa: E402
import engine  # noqa: E402


class ContainerRestart(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "docker.sock")
        self.engine = docker.Engine(self.path)
        self.addCleanup(self.engine.close)

    def config(self, **settings):
        return {"containers": ["web", "broken", "sick", "gone"], "socket": self.path, **settings}

    def params(self, container="web", **params):
        return {"container": container, "operation": "restart", "stop_seconds": 3, "timeout": 10, "settle_seconds": 0, **params}

    def execute(self, container="web", config=None, cancelled=False, **params):
        return run_action(main.container_restart, self.params(container, **params), config=self.config(**(config or {})), cancelled=cancelled)

    def test_restarts_and_waits_until_it_is_healthy(self):
        result = self.execute(settle_seconds=0.3)
        self.assertGreaterEqual(result.pop("duration_seconds"), 0.3)
        self.assertEqual(result.pop("before"), "running")
        self.assertRegex(result.pop("started_at"), "^2026-")
        self.assertEqual(result, {"container": "web", "id": "0123456789ab", "status": "running", "health": "healthy", "exit_code": 0})
        self.assertEqual(self.engine.asked[1], "POST /v1.30/containers/web/restart?t=3")

    def test_other_operations(self):
        self.assertEqual(self.execute(operation="stop")["status"], "exited")
        self.assertEqual(self.execute(operation="start")["before"], "exited")
        self.assertIn("POST /v1.30/containers/web/start", self.engine.asked)

    def test_container_that_does_not_stay_up_is_a_failure(self):
        for name, told in ("broken", r"^broken is exited after restart \(exit code 1\): `docker logs broken` says why$"), ("sick", "^sick is unhealthy after"):
            with self.subTest(name), self.assertRaisesRegex(stavily.Failed, told) as failed:
                self.execute(name)
            self.assertEqual(failed.exception.result["container"], name)

    def test_only_what_is_allowed(self):
        with self.assertRaisesRegex(stavily.Refused, "web is not among the containers that this host allows: none"):
            self.execute(config={"containers": []})
        self.assertEqual(self.engine.asked, [])

    def test_what_docker_refuses_is_told(self):
        with self.assertRaisesRegex(stavily.Failed, "^Docker refuses: 404 No such container: gone$"):
            self.execute("gone")

    def test_no_docker_is_told(self):
        with self.assertRaisesRegex(stavily.Failed, "^cannot reach Docker at /no/such: No such file or directory: see that it runs, that the agent's user"):
            self.execute(config={"socket": "/no/such"})

    def test_what_is_not_docker_is_told(self):
        class Other(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(self.server.text)

            def log_message(self, *_):
                pass

            def address_string(self):
                return "-"

        path = self.path + "2"
        with socketserver.UnixStreamServer(path, Other) as other:
            thread = threading.Thread(target=other.serve_forever, args=(0.01,))
            thread.start()
            for text, told in (json.dumps([1]).encode(), "what answers at .* is not Docker"), (b"<html>", "no answer from Docker at .*: Expecting value"):
                other.text = text
                with self.subTest(told), self.assertRaisesRegex(stavily.Failed, told):
                    self.execute(config={"socket": path})
            other.shutdown()
            thread.join()

    def test_time_and_cancellation(self):
        with self.assertRaisesRegex(stavily.Failed, "^web is running starting when the time is up$"):
            self.execute(timeout=0)
        with self.assertRaisesRegex(stavily.Cancelled, "^cancelled while web is running$"):
            self.execute(cancelled=True)

    def test_as_a_process(self):
        with Session(main.__file__, config=self.config()) as plugin:
            self.assertEqual(plugin.execute(self.params())["status"], "completed")


class RealEngine(unittest.TestCase):
    """Docker itself."""

    @classmethod
    def setUpClass(cls):
        cls.engine = engine.Engine()
        try:
            cls.engine.__enter__()
        except engine.NotHere as reason:
            raise unittest.SkipTest(str(reason)) from None
        cls.addClassCleanup(cls.engine.__exit__)
        cls.engine.run("web", "/usr/bin/sh", "-c", "trap exit TERM; sleep 1000 & wait")
        cls.engine.run("broken", "/usr/bin/sh", "-c", "exit 3")

    def execute(self, container, **params):
        params = {"container": container, "operation": "restart", "stop_seconds": 1, "timeout": 20, "settle_seconds": 0.5, **params}
        return run_action(main.container_restart, params, config={"containers": [container], "socket": self.engine.socket})

    def test_restart_stop_and_start(self):
        before = json.loads(self.engine.docker("inspect", "web").stdout)[0]["State"]["StartedAt"]
        result = self.execute("web")
        self.assertEqual((result["container"], result["status"], result["health"]), ("web", "running", ""))
        self.assertGreater(result["started_at"], before)
        self.assertEqual(self.execute("web", operation="stop")["status"], "exited")
        self.assertEqual(self.execute("web", operation="start")["before"], "exited")

    def test_container_that_ends_at_once_is_a_failure(self):
        with self.assertRaisesRegex(stavily.Failed, r"^broken is exited after restart \(exit code 3\)"):
            self.execute("broken")

    def test_container_that_there_is_not(self):
        with self.assertRaisesRegex(stavily.Failed, "^Docker refuses: 404 No such container: gone$"):
            self.execute("gone")


if __name__ == "__main__":
    unittest.main()
