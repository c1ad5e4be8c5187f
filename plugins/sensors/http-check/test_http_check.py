import http.server
import os
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest

import main
import stavily
from stavily.testing import run_sensor


class Server(http.server.HTTPServer):
    """Answers each request with `answer`, (status, headers, body), after `delay` seconds."""

    def __init__(self, certificate=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.delay, self.headers = (200, {}, b"fine"), 0, None
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, *_):
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.headers = self.headers
        time.sleep(self.server.delay)
        status, headers, body = self.server.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


class HttpCheck(unittest.TestCase):
    def setUp(self):
        self.state = {}

    def serve(self, certificate=None):
        server = Server(certificate)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        return server

    def check(self, server, **settings):
        url = server if isinstance(server, str) else "http://127.0.0.1:{}/health?key=secret".format(server.server_port)
        config = {"url": url, "method": "GET", "headers": {}, "status": [], "timeout": 5, "certificate_days": 14, "checks": 1, "ca_files": []}
        return run_sensor(main.http_check, {**config, **settings}, state=self.state)

    def problem(self, server, **settings):
        self.state.clear()
        (event,) = self.check(server, **settings)
        self.assertEqual(event["type"], "http.down")
        return event["data"]["problem"]

    def test_tells_when_it_is_wrong_and_when_it_is_right_again(self):
        server = self.serve()
        self.assertEqual(self.check(server), [])
        server.answer = 503, {}, b""
        (event,) = self.check(server)
        self.assertEqual((event["type"], event["severity"]), ("http.down", "high"))
        self.assertEqual(event["key"], "http://127.0.0.1:{}/health".format(server.server_port))
        self.assertGreaterEqual(event["data"].pop("seconds"), 0)
        self.assertEqual(event["data"], {"url": event["key"], "status": 503, "problem": "answers 503 Service Unavailable", "checks": 1})
        self.assertEqual(self.check(server), [])
        server.answer = 200, {}, b""
        (event,) = self.check(server)
        self.assertEqual((event["type"], event["data"]["problem"]), ("http.up", ""))

    def test_several_checks_in_a_row(self):
        server = self.serve()
        server.answer = 500, {}, b""
        for expected in 0, 0, 1, 0:
            self.assertEqual(len(self.check(server, checks=3)), expected)

    def test_status_and_body(self):
        server = self.serve()
        server.answer = 404, {}, b"all is well\nreally"
        self.assertEqual(self.check(server, status=[404], body="^really$"), [])
        self.assertEqual(self.problem(server, status=[404], body="bad"), "the body does not have 'bad'")
        self.assertEqual(self.problem(server), "answers 404 Not Found")
        server.answer = 301, {"Location": "https://elsewhere/"}, b""
        self.assertEqual(self.problem(server), "redirects to https://elsewhere/: check that URL")

    def test_headers_and_method(self):
        server = self.serve()
        self.check(server, method="HEAD", headers={"Authorization": "Bearer x"})
        self.assertEqual((server.headers["Authorization"], server.headers["User-Agent"]), ("Bearer x", "stavily"))

    def test_slow_answers(self):
        server = self.serve()
        server.delay = 0.05
        (event,) = self.check(server, max_seconds=0.02)
        self.assertEqual((event["type"], event["severity"], event["data"]["max_seconds"]), ("http.slow", "medium", 0.02))
        server.delay = 0
        (event,) = self.check(server, max_seconds=5)
        self.assertEqual(event["type"], "http.fast")

    def test_no_answer_is_told(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = "http://127.0.0.1:{}/".format(unused.getsockname()[1])
            self.assertRegex(self.problem(url), "^no answer from 127.0.0.1: .*refused")
        server = self.serve()
        server.delay = 0.3
        self.assertRegex(self.problem(server, timeout=0.1), "^no answer from 127.0.0.1: timed out")
        self.assertRegex(self.problem("http://no.such.invalid/"), "^no answer from no.such.invalid: ")

    def test_catastrophic_expression_is_given_up(self):
        server = self.serve()
        server.answer = 200, {}, b"a" * 40 + b"!"
        begin = time.monotonic()
        self.assertEqual(
            self.problem(server, body="^(a+)+$"), "searching the body took more than 2.0 seconds: make the expression simpler"
        )
        self.assertLess(time.monotonic() - begin, 4)

    def test_bad_configuration_is_told(self):
        for settings, told in (
            ({"url": "ftp://x/"}, "url must begin with https:// or http:// and name a host"),
            ({"url": "https://me:pass@x/"}, "url must not hold a user name or password"),
            ({"url": "http://x:99999/"}, "url has no port from 1 to 65535"),
            ({"body": "("}, r"body is not a regular expression: '\(': missing \)"),
        ):
            with self.subTest(told), self.assertRaisesRegex(stavily.Failed, told):
                self.check("http://127.0.0.1:1/", **settings)

    def certificate(self, days):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = os.path.join(directory.name, "both.pem")
        try:
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path]
                + ["-out", path + ".crt", "-days", str(days), "-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1"],
                check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
        except FileNotFoundError:
            self.skipTest("needs openssl")
        with open(path, "a") as both, open(path + ".crt") as certificate:
            both.write(certificate.read())
        return path

    def test_certificate(self):
        path = self.certificate(10)
        server = self.serve(path)
        url = "https://127.0.0.1:{}/".format(server.server_port)
        (event,) = self.check(url, ca_files=[path + ".crt"])
        self.assertEqual((event["type"], event["severity"]), ("certificate.expiring", "medium"))
        self.assertAlmostEqual(event["data"]["certificate_days"], 10, delta=0.2)
        self.assertEqual(self.check(url, ca_files=[path + ".crt"]), [])
        (event,) = self.check(url, ca_files=[path + ".crt"], certificate_days=9)
        self.assertEqual(event["type"], "certificate.renewed")
        self.assertRegex(self.problem(url), "^the certificate of 127.0.0.1 is not trusted: self.signed certificate")
        self.assertRegex(self.problem(url, ca_files=["/no/such"]), "^the certificates in /no/such cannot be read: No such file")


if __name__ == "__main__":
    unittest.main()
