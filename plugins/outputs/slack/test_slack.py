import http.server
import json
import threading
import unittest

import main
import stavily
from stavily.testing import Session, run_output


class Receiver(http.server.HTTPServer):
    """Answers as Slack: "ok" once it understands, else with a word for what is wrong."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies, self.statuses = [], []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"ok" if status == 200 else b"no_service")

    def log_message(self, *_):
        pass


class Slack(unittest.TestCase):
    def setUp(self):
        self.receiver = Receiver()
        thread = threading.Thread(target=self.receiver.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(self.receiver.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(self.receiver.shutdown)
        url = "http://127.0.0.1:{}/services/secret".format(self.receiver.server_port)
        self.config = {"url": url, "timeout": 5, "retries": 0, "ca_files": []}

    def send(self, content):
        self.assertEqual(run_output(main.slack, {"content": content}, config=self.config), {"status_code": 200, "attempts": 1})
        return self.receiver.bodies[-1]

    def test_title_text_and_fields(self):
        body = self.send({"title": "Disk full", "text": "*Look*", "severity": "critical", "fields": {"mount": "/<!channel>"}})
        self.assertEqual(body["text"], "Disk full")
        (attachment,) = body["attachments"]
        self.assertEqual(attachment["color"], "#d40e0d")
        header, section, fields = attachment["blocks"]
        self.assertEqual(header["text"], {"type": "plain_text", "text": "Disk full"})
        self.assertEqual(section["text"], {"type": "mrkdwn", "text": "*Look*"})
        self.assertEqual(fields["fields"], [{"type": "mrkdwn", "text": "*mount*\n/&lt;!channel&gt;"}])

    def test_plain_text(self):
        body = self.send("hello")
        self.assertEqual((body["text"], len(body["attachments"][0]["blocks"])), ("hello", 1))

    def test_blocks_of_ones_own(self):
        mine = [{"type": "divider"}]
        self.assertEqual(self.send({"text": "x", "blocks": mine, "severity": "low"}), {"text": "x", "blocks": mine})

    def test_what_is_too_long_is_cut(self):
        body = self.send({"title": "t" * 200, "text": "x" * 5000, "fields": {str(n): n for n in range(20)}})
        header, section, fields = body["attachments"][0]["blocks"]
        self.assertEqual((len(header["text"]["text"]), len(section["text"]["text"]), len(fields["fields"])), (150, 3000, 10))

    def test_bad_content_is_refused(self):
        for content, told in (
            (None, "content must be an object or a text, is None"),
            ({}, "neither text nor title"),
            ({"text": "x", "channel": "#y"}, "the message has channel: Slack is sent text, title"),
            ({"text": "x", "severity": "bad"}, "severity must be one of low, medium"),
            ({"text": "x", "fields": [1]}, "fields must be an object"),
        ):
            with self.subTest(told), self.assertRaisesRegex(stavily.Refused, told):
                run_output(main.slack, {"content": content}, config=self.config)
        self.assertEqual(self.receiver.bodies, [])

    def test_failure_is_told_without_the_secret(self):
        self.receiver.statuses = [404]
        with self.assertRaisesRegex(stavily.Failed, r"^127.0.0.1 answers 404 Not Found: no_service \(attempt 1\)$"):
            run_output(main.slack, {"content": "x"}, config=self.config)

    def test_as_a_process(self):
        with Session(main.__file__, config=self.config) as plugin:
            self.assertEqual(plugin.deliver({"content": "hello"})["data"], {"status_code": 200, "attempts": 1})


if __name__ == "__main__":
    unittest.main()
