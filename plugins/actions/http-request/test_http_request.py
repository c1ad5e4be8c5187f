import http.server
import json
import threading
import unittest

import main
import stavily
from stavily.testing import Session, run_action


class Server(http.server.HTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.requests = (200, {}, b"fine"), []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path, self.headers, body))
        status, headers, body = self.server.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = do_GET

    def log_message(self, *_):
        pass


class HttpRequest(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(self.server.shutdown)
        self.url = "http://127.0.0.1:{}/v1/".format(self.server.server_port)

    def config(self, **settings):
        return {"urls": [self.url], "headers": {"Authorization": "Bearer x"}, "ca_files": [], "max_bytes": 1000, **settings}

    def params(self, url=None, **params):
        return {"url": url or self.url + "x?y=z", "method": "GET", "headers": {}, "ok_status": [], "timeout": 5, **params}

    def ask(self, url=None, config=None, **params):
        return run_action(main.http_request, self.params(url, **params), config=self.config(**(config or {})))

    def test_answer_is_the_result(self):
        self.server.answer = 200, {"X-Zone": "a"}, "Grüße".encode()
        result = self.ask()
        self.assertGreaterEqual(result.pop("duration_seconds"), 0)
        self.assertEqual(result["headers"].pop("x-zone"), "a")
        del result["headers"]
        self.assertEqual(result, {"status": 200, "truncated": False, "body": "Grüße"})
        ((method, path, headers, _),) = self.server.requests
        self.assertEqual((method, path), ("GET", "/v1/x?y=z"))
        self.assertEqual((headers["Authorization"], headers["Idempotency-Key"]), ("Bearer x", "test-instruction"))

    def test_json_both_ways(self):
        self.server.answer = 201, {"Content-Type": "application/json; charset=utf-8"}, b'{"id": 7}'
        self.assertEqual(self.ask(method="POST", body={"a": {"b": [1]}})["json"], {"id": 7})
        _, _, headers, body = self.server.requests[-1]
        self.assertEqual((headers["Content-Type"], json.loads(body)), ("application/json", {"a": {"b": [1]}}))
        self.ask(method="POST", body="plain", headers={"content-type": "text/x"})
        _, _, headers, body = self.server.requests[-1]
        self.assertEqual((headers["Content-Type"], body), ("text/x", b"plain"))

    def test_body_is_bounded(self):
        self.server.answer = 200, {"Content-Type": "application/json"}, b"[" * 5000
        result = self.ask(config={"max_bytes": 10})
        self.assertEqual((result["body"], result["truncated"]), ("[" * 10, True))

    def test_status_that_is_not_ok_fails_with_the_result(self):
        self.server.answer = 409, {}, b"busy"
        with self.assertRaisesRegex(stavily.Failed, "^127.0.0.1 answers 409 Conflict$") as failed:
            self.ask()
        self.assertEqual((failed.exception.result["status"], failed.exception.result["body"]), (409, "busy"))
        self.assertEqual(self.ask(ok_status=[409])["status"], 409)
        self.server.answer = 302, {"Location": "http://elsewhere/"}, b""
        with self.assertRaisesRegex(stavily.Failed, "302 Found, which leads to http://elsewhere/: ask that URL"):
            self.ask()

    def test_only_what_is_allowed(self):
        host = "https://a.test"
        for url, entry, permitted in (
            (host + "/v1/x", host + "/v1", True),
            (host + "/v1", host + "/v1/", True),
            (host + "/v1?x", host + "/v1", True),
            (host + ":443/v1/x", host + "/v1", True),
            (host + "/v10", host + "/v1", False),
            (host + "/", host + "/v1", False),
            ("http://a.test/v1", host + "/v1", False),
            ("https://a.test:444/v1", host + "/v1", False),
            ("https://a.test.evil/v1", host + "/v1", False),
            (host + "/v1/../admin", host + "/v1", False),
            (host + "/v1/%2e%2E/admin", host + "/v1", False),
            (host + "/v1/..\\admin", host + "/v1", False),
            ("https://me:pass@a.test/v1", host + "/v1", False),
            (host + "/anything", host, True),
        ):
            with self.subTest(url=url, entry=entry):
                if permitted:
                    main.allowed(url, [entry])
                else:
                    with self.assertRaises(stavily.Refused):
                        main.allowed(url, [entry])
        with self.assertRaisesRegex(stavily.Refused, "http://127.0.0.1:1/ is not among the URLs that this host allows"):
            self.ask("http://127.0.0.1:1/")
        self.assertEqual(self.server.requests, [])

    def test_owners_headers_stay(self):
        for name in "authorization", "Host", "Transfer-Encoding":
            with self.subTest(name), self.assertRaisesRegex(stavily.Refused, "header {} is not for an instruction".format(name)):
                self.ask(headers={name: "x"})
        with self.assertRaisesRegex(stavily.Failed, "no answer from 127.0.0.1: Invalid header value"):
            self.ask(headers={"X": "a\r\nAuthorization: b"})

    def test_no_answer_is_told(self):
        with self.assertRaisesRegex(stavily.Failed, "^no answer from 127.0.0.1: .*refused"):
            self.ask("http://127.0.0.1:1/", {"urls": ["http://127.0.0.1:1/"]})

    def test_as_a_process(self):
        with Session(main.__file__, config=self.config()) as plugin:
            record = plugin.execute(self.params(body={"a": 1}, method="POST"))
        self.assertEqual((record["status"], record["data"]["body"]), ("completed", "fine"))


if __name__ == "__main__":
    unittest.main()
