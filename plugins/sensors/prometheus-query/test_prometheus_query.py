import http.server
import json
import threading
import unittest
import urllib.parse

import main
import stavily
from stavily.testing import Plugin


class Server(http.server.HTTPServer):
    """Speaks the query API of Prometheus: `answer` is what it says."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.answer, self.asked = 200, {}, []

    def says(self, *series):
        result = [{"metric": labels, "value": [1.0, str(value)]} for labels, value in series]
        self.answer = {"status": "success", "data": {"resultType": "vector", "result": result}}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(self.server.status)
        self.end_headers()
        answer = self.server.answer
        self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    def log_message(self, *_):
        pass


class PrometheusQuery(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(self.server.shutdown)

    def plugin(self, **settings):
        url = "http://127.0.0.1:{}/prefix/".format(self.server.server_port)
        config = {"url": url, "query": "up{a=\"b\"} + 1", "missing": False, "checks": 1, "headers": {}, "timeout": 5, "ca_files": []}
        return Plugin(main.prometheus_query, {**config, **settings})

    def told(self, plugin):
        return [(event["type"], event["key"]) for event in plugin.check()]

    def test_each_series_by_itself(self):
        plugin = self.plugin(above=10, below=1)
        a, b = {"__name__": "up", "job": "a"}, {"job": "b", "zone": "z"}
        self.server.says((a, 5), (b, 5))
        self.assertEqual(self.told(plugin), [])
        self.server.says((a, 11), (b, 0.5))
        self.assertEqual(sorted(self.told(plugin)), [("prometheus.high", 'up{job="a"}'), ("prometheus.low", '{job="b", zone="z"}')])
        self.assertEqual(self.told(plugin), [])
        self.server.says((a, 10))
        self.assertEqual(sorted(self.told(plugin)), [("prometheus.ok", 'up{job="a"}'), ("prometheus.ok", '{job="b", zone="z"}')])
        self.assertEqual(plugin.state, {"series": {}})
        path, _, query = self.server.asked[0].partition("?")
        self.assertEqual((path, urllib.parse.parse_qs(query)["query"]), ("/prefix/api/v1/query", ['up{a="b"} + 1']))

    def test_event_says_what_was_found(self):
        self.server.says(({"__name__": "up", "job": "a"}, 11))
        (event,) = self.plugin(above=10).check()
        self.assertEqual(event["severity"], "high")
        expected = {"query": 'up{a="b"} + 1', "series": 'up{job="a"}', "labels": {"__name__": "up", "job": "a"}, "value": 11.0}
        self.assertEqual(event["data"], expected)
        self.server.says(({}, "+Inf"), ({"x": "y"}, "NaN"))
        (event,) = self.plugin(above=10).check()
        self.assertEqual((event["key"], event["data"]["value"]), ("{}", "inf"))

    def test_several_checks_in_a_row(self):
        self.server.says(({}, 11))
        plugin = self.plugin(above=10, checks=3)
        self.assertEqual([len(plugin.check()) for _ in range(4)], [0, 0, 1, 0])

    def test_missing_and_scalar(self):
        plugin = self.plugin(missing=True)
        self.server.says()
        self.assertEqual(self.told(plugin), [("prometheus.missing", 'up{a="b"} + 1')])
        self.server.answer = {"status": "success", "data": {"resultType": "scalar", "result": [1.0, "3"]}}
        self.assertEqual(self.told(plugin), [("prometheus.ok", 'up{a="b"} + 1')])

    def test_events_that_were_taken_are_not_told_twice(self):
        self.server.says(({"job": "a"}, 11), ({"job": "b"}, 11))
        plugin = self.plugin(above=10)
        answer, taken = plugin.agent.answer, []

        def only_one(method, params):
            if method == "report_trigger":
                taken.append(params)
                if len(taken) > 1:
                    raise stavily.AgentError("the spool is full")
            return answer(method, params)

        plugin.agent.answer = only_one
        with self.assertRaises(stavily.AgentError):
            plugin.check()
        plugin.agent.answer = answer
        self.assertEqual(self.told(plugin), [("prometheus.high", '{job="b"}')])

    def test_what_goes_wrong_is_told(self):
        for status, answer, told in (
            (400, {"status": "error", "error": "parse error at char 1"}, "127.0.0.1 does not take the query: parse error at char 1"),
            (200, b"<html>", "127.0.0.1 answers 200 OK, and not as Prometheus does: see that url is the server's"),
            (502, b"", "127.0.0.1 answers 502 Bad Gateway, and not as"),
            (200, {"status": "success", "data": {"resultType": "matrix", "result": []}}, "gives a matrix: it must give a vector"),
            (200, {"status": "success", "data": {"resultType": "vector", "result": [{}] * 201}}, "gives 201 series: 200 are looked at"),
        ):
            with self.subTest(told), self.assertRaisesRegex(stavily.Failed, told):
                self.server.status, self.server.answer = status, answer
                self.plugin(above=1).check()
        with self.assertRaisesRegex(stavily.Failed, "nothing to tell: set above, below or missing"):
            self.plugin().check()
        with self.assertRaisesRegex(stavily.Failed, "no answer from 127.0.0.1: .*refused"):
            self.plugin(url="http://127.0.0.1:1", above=1).check()
        with self.assertRaisesRegex(stavily.Failed, "url must not hold a user name"):
            self.plugin(url="http://me:x@127.0.0.1:1", above=1).check()


if __name__ == "__main__":
    unittest.main()
