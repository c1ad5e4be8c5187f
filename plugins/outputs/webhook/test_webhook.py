import http.server
import json
import logging
import socket
import threading
import unittest
from unittest import mock

import main
import stavily
from stavily.testing import Session, run_output


class Receiver(http.server.HTTPServer):
    """Answers each POST with the next of `answers`, (status, headers, body), and remembers the requests."""

    def __init__(self, *answers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)
        self.requests = []
        self.url = "http://127.0.0.1:{}/hook?a=b".format(self.server_port)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, self.headers, json.loads(body)))
        status, headers, body = self.server.answers.pop(0)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Webhook(unittest.TestCase):
    def setUp(self):
        # Waits are counted, not slept.
        self.waits = []
        patch = mock.patch("stavily.Context.sleep", lambda context, seconds: self.waits.append(seconds))
        patch.start()
        self.addCleanup(patch.stop)
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)

    def receive(self, *answers):
        receiver = Receiver(*answers)
        thread = threading.Thread(target=receiver.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(receiver.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(receiver.shutdown)
        return receiver

    def send(self, url, content="hello", *, timeout=None, **settings):
        config = {"url": url, "headers": {}, "timeout": 5, "retries": 2, "ca_files": [], **settings}
        return run_output(main.webhook, {"id": "m", "content": content}, config=config, timeout=timeout)

    def test_object_is_sent_as_it_is(self):
        receiver = self.receive((200, {}, b"ok"))
        result = self.send(receiver.url, {"text": "disk full", "blocks": []}, headers={"Authorization": "Bearer x"})
        self.assertEqual(result, {"status_code": 200, "attempts": 1})
        ((path, headers, body),) = receiver.requests
        self.assertEqual((path, body), ("/hook?a=b", {"text": "disk full", "blocks": []}))
        self.assertEqual((headers["Content-Type"], headers["Authorization"]), ("application/json", "Bearer x"))

    def test_text_is_wrapped_as_slack_wants_it(self):
        receiver = self.receive((204, {}, b""))
        self.send(receiver.url, "disk full")
        self.assertEqual(receiver.requests[0][2], {"text": "disk full"})

    def test_retries_with_the_same_key_until_taken(self):
        receiver = self.receive((503, {}, b""), (429, {"Retry-After": "7"}, b""), (200, {}, b""))
        self.assertEqual(self.send(receiver.url), {"status_code": 200, "attempts": 3})
        self.assertEqual({headers["Idempotency-Key"] for _, headers, _ in receiver.requests}, {"test-instruction"})
        self.assertTrue(0 <= self.waits[0] <= 0.5)
        self.assertEqual(self.waits[1:], [7.0])

    def test_waits_grow_and_are_bounded(self):
        with mock.patch("random.uniform", lambda low, high: high), self.assertRaises(stavily.Failed):
            self.send("http://127.0.0.1:1/", retries=9)
        self.assertEqual(self.waits, [0.5, 1, 2, 4, 8, 16, 32, 60, 60])

    def test_gives_up_after_the_retries(self):
        receiver = self.receive(*[(500, {}, b"database is down")] * 3)
        with self.assertRaisesRegex(
            stavily.Failed, r"^127.0.0.1 answers 500 Internal Server Error: database is down \(attempt 3\)$"
        ) as failed:
            self.send(receiver.url)
        self.assertEqual(failed.exception.result, {"status_code": 500, "attempts": 3})

    def test_gives_up_when_the_time_would_not_suffice(self):
        receiver = self.receive((503, {"Retry-After": "60"}, b""))
        with self.assertRaisesRegex(stavily.Failed, r"\(attempt 1\)$"):
            self.send(receiver.url, timeout=30)

    def test_cancellation_ends_the_retries(self):
        receiver = self.receive((503, {}, b""))
        with mock.patch("stavily.Context.sleep", lambda context, seconds: context.cancel()):
            with self.assertRaisesRegex(stavily.Cancelled, "^cancelled after: 127.0.0.1 answers 503") as cancelled:
                self.send(receiver.url)
        self.assertEqual(cancelled.exception.result, {"status_code": 503, "attempts": 1})

    def test_refusal_is_not_retried(self):
        receiver = self.receive((404, {}, b"no_team"))
        with self.assertRaisesRegex(stavily.Failed, r"^127.0.0.1 answers 404 Not Found: no_team \(attempt 1\)$"):
            self.send(receiver.url)

    def test_redirect_is_told_and_not_followed(self):
        elsewhere = self.receive((200, {}, b""))
        receiver = self.receive((302, {"Location": elsewhere.url}, b""))
        with self.assertRaisesRegex(stavily.Failed, "^127.0.0.1 redirects to {}".format(elsewhere.url.replace("?", r"\?"))):
            self.send(receiver.url)
        self.assertEqual(elsewhere.requests, [])

    def test_no_answer_is_retried_and_told(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
            url = "http://127.0.0.1:{}/".format(unused.getsockname()[1])
            with self.assertRaisesRegex(stavily.Failed, r"^no answer from 127.0.0.1: .*refused.* \(attempt 3\)$"):
                self.send(url)

    def test_silence_is_bounded(self):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen(1)
            with self.assertRaisesRegex(stavily.Failed, "no answer from 127.0.0.1: timed out"):
                self.send("http://127.0.0.1:{}/".format(silent.getsockname()[1]), timeout=0.05, retries=0)

    def test_only_web_addresses(self):
        for url in "file:///etc/passwd", "ftp://example.com/", "https://", "example.com", "https://user:secret@example.com/":
            with self.subTest(url), self.assertRaisesRegex(stavily.Refused, "config.url must"):
                self.send(url)

    def test_errors_do_not_tell_the_secret_part_of_the_url(self):
        receiver = self.receive((403, {}, b""))
        with self.assertRaises(stavily.Failed) as failed:
            self.send(receiver.url)
        self.assertNotIn("hook", str(failed.exception))

    def test_message_without_content_is_refused(self):
        with self.assertRaisesRegex(stavily.Refused, "content must be an object or a text, is None"):
            self.send("https://example.com/", None)

    def test_as_a_process(self):
        receiver = self.receive((200, {}, b""))
        config = {"url": receiver.url, "headers": {}, "timeout": 5, "retries": 0, "ca_files": []}
        with Session(main.__file__, config=config) as plugin:
            record = plugin.deliver({"content": "hello"})
        self.assertEqual((record["status"], record["data"]), ("completed", {"status_code": 200, "attempts": 1}))


if __name__ == "__main__":
    unittest.main()
