import http.server
import threading
import unittest

import main
import stavily
from stavily.testing import Session, run_output


class Gateway(http.server.HTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pushes, self.status = [], 200


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.pushes.append((self.command, self.path, self.headers["Content-Type"], body))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(b"pushed metrics are invalid" if self.server.status == 400 else b"")

    do_PUT = do_POST

    def log_message(self, *_):
        pass


class Pushgateway(unittest.TestCase):
    def setUp(self):
        self.gateway = Gateway()
        thread = threading.Thread(target=self.gateway.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(self.gateway.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(self.gateway.shutdown)

    def config(self, **settings):
        config = {"url": "http://127.0.0.1:{}/".format(self.gateway.server_port), "job": "backup", "labels": {}, "replace_all": False}
        return {**config, "headers": {}, "timeout": 5, "retries": 0, "ca_files": [], **settings}

    def push(self, metrics, **settings):
        return run_output(main.prometheus_pushgateway, {"content": {"metrics": metrics}}, config=self.config(**settings))

    def test_metrics_in_their_text_form(self):
        result = self.push(
            {
                "up": 1,
                "ratio": "0.5",
                "size_bytes": [{"value": 7, "labels": {"b": 'x"\\\n', "a": 1}, "help": "Size\nof it"}, {"value": float(8)}],
                "runs_total": {"value": 3, "type": "counter"},
            }
        )
        self.assertEqual(result, {"status_code": 200, "attempts": 1})
        ((method, path, kind, body),) = self.gateway.pushes
        self.assertEqual((method, path, kind), ("POST", "/metrics/job/backup", "text/plain; version=0.0.4"))
        expected = """# TYPE up gauge
up 1
# TYPE ratio gauge
ratio 0.5
# HELP size_bytes Size\\nof it
# TYPE size_bytes gauge
size_bytes{a="1",b="x\\"\\\\\\n"} 7
size_bytes 8.0
# TYPE runs_total counter
runs_total 3
"""
        self.assertEqual(body, expected)

    def test_group(self):
        self.push({"up": 1}, labels={"path": "/var", "instance": "a b", "empty": ""}, replace_all=True)
        self.assertEqual(self.gateway.pushes[0][:2], ("PUT", "/metrics/job/backup/empty@base64/=/instance/a%20b/path@base64/L3Zhcg=="))

    def test_numbers_that_are_none(self):
        self.assertEqual([main.sample("x", {"value": value}) for value in (float("inf"), float("-inf"), float("nan"))], ["x +Inf", "x -Inf", "x NaN"])

    def test_bad_input_is_refused(self):
        for content, told in (
            (None, 'content must be {"metrics": {name: number, …}}, is None'),
            ({"metrics": {}}, "content must be"),
            ({"metrics": {"a b": 1}}, "'a b' is not the name of a metric"),
            ({"metrics": {"a": "many"}}, "the value of a must be a number, is 'many'"),
            ({"metrics": {"a": True}}, "the value of a must be a number"),
            ({"metrics": {"a": {"value": 1, "labels": {"b-c": 1}}}}, "'b-c' of a is not the name of a label"),
            ({"metrics": {"a": {"value": 1, "type": "histogram"}}}, "the type of a must be one of gauge, counter, untyped"),
        ):
            with self.subTest(told), self.assertRaises(stavily.Refused) as refused:
                run_output(main.prometheus_pushgateway, {"content": content}, config=self.config())
            self.assertIn(told, str(refused.exception))
        with self.assertRaisesRegex(stavily.Refused, "'a-b' in config.labels is not the name of a label"):
            self.push({"up": 1}, labels={"a-b": 1})
        self.assertEqual(self.gateway.pushes, [])

    def test_what_the_gateway_refuses_is_told(self):
        self.gateway.status = 400
        with self.assertRaisesRegex(stavily.Failed, r"^127.0.0.1 answers 400 Bad Request: pushed metrics are invalid \(attempt 1\)$"):
            self.push({"up": 1})

    def test_as_a_process(self):
        with Session(main.__file__, config=self.config()) as plugin:
            self.assertEqual(plugin.deliver({"content": {"metrics": {"up": 1}}})["status"], "completed")


if __name__ == "__main__":
    unittest.main()
