import email
import email.policy
import logging
import os
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import main
import stavily
from stavily.testing import Session, run_output

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "testdata"))
import smtp  # noqa: E402


class Email(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.certificate, key = os.path.join(directory.name, "both.pem"), os.path.join(directory.name, "key")
        arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x -addext subjectAltName=IP:127.0.0.1"
        try:
            subprocess.run(["openssl", *arguments.split(), "-keyout", key, "-out", cls.certificate], check=True, stderr=subprocess.DEVNULL)
        except FileNotFoundError:
            raise unittest.SkipTest("needs openssl") from None
        with open(cls.certificate, "a") as both, open(key) as text:
            both.write(text.read())

    def setUp(self):
        self.waits = []
        patch = mock.patch("stavily.Context.sleep", lambda context, seconds: self.waits.append(seconds))
        patch.start()
        self.addCleanup(patch.stop)
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)

    def serve(self, **options):
        server = smtp.Server(self.certificate, **options)
        self.addCleanup(server.close)
        return server

    def config(self, to, **settings):
        config = {"server": "127.0.0.1:{}".format(to.port), "security": "starttls", "sender": "Stavily <s@x.test>"}
        return {**config, "recipients": ["a@x.test"], "timeout": 5, "retries": 2, "ca_files": [self.certificate], **settings}

    def send(self, to, content="hello", **settings):
        return run_output(main.mail, {"content": content}, config=self.config(to, **settings))

    def letter(self, server):
        return email.message_from_bytes(server.messages[-1]["text"].replace("\r\n", "\n").encode(), policy=email.policy.default)

    def test_starttls_and_login(self):
        server = self.serve(login=("me", "secret"))
        result = self.send(server, {"subject": "Disk\r\nBcc: evil@x.test", "text": "Grüße\n.\n"}, username="me", password="secret")
        self.assertEqual(result, {"attempts": 1, "refused": {}, "message_id": "<test-instruction@stavily>"})
        message = server.messages[0]
        self.assertEqual((message["encrypted"], message["user"]), (True, "me"))
        self.assertIn("<a@x.test>", message["recipients"][0])
        letter = self.letter(server)
        self.assertEqual((letter["Subject"], letter["Bcc"], letter["To"]), ("Disk Bcc: evil@x.test", None, "a@x.test"))
        self.assertEqual(letter.get_content(), "Grüße\n.\n")

    def test_tls_from_the_first_byte(self):
        server = self.serve(tls=True)
        self.send(server, {"text": "first line\nsecond", "html": "<p>x</p>"}, security="tls")
        letter = self.letter(server)
        self.assertEqual((letter["Subject"], letter["Auto-Submitted"]), ("first line", "auto-generated"))
        self.assertEqual([part.get_content_type() for part in letter.iter_parts()], ["text/plain", "text/html"])

    def test_without_encryption_only_without_a_password(self):
        server = self.serve()
        self.send(server, security="none")
        self.assertFalse(server.messages[0]["encrypted"])
        with self.assertRaisesRegex(stavily.Refused, "a password is not sent over a connection that anybody can read"):
            self.send(server, security="none", username="me")

    def test_server_that_nobody_trusts(self):
        with self.assertRaisesRegex(stavily.Failed, r"^the certificate of 127.0.0.1:\d+ is not trusted: self.signed.*\(attempt 1\)$"):
            self.send(self.serve(), ca_files=[])

    def test_server_without_starttls(self):
        server = smtp.Server()
        self.addCleanup(server.close)
        with self.assertRaisesRegex(stavily.Failed, "STARTTLS extension not supported by server.: see `security`"):
            self.send(server)

    def test_comes_later_when_asked_to(self):
        server = self.serve()
        server.refusals["MAIL"] = ["451 come later"] * 2
        self.assertEqual(self.send(server)["attempts"], 3)
        self.assertEqual(self.waits, [2.0, 4.0])

    def test_refusals_are_told_and_not_repeated(self):
        server = self.serve(login=("me", "secret"))
        with self.assertRaisesRegex(stavily.Failed, r"^the server refuses the login: 535 wrong password \(attempt 1\)$"):
            self.send(server, username="me", password="wrong")
        with self.assertRaisesRegex(stavily.Failed, r"^no recipient was accepted: 550 no such user \(attempt 1\)$"):
            self.send(server, recipients=["nobody@x.test"])
        self.assertEqual(self.send(server, recipients=["a@x.test", "nobody@x.test"])["refused"], {"nobody@x.test": "550 no such user"})

    def test_no_answer_is_told(self):
        server = self.serve()
        with self.assertRaisesRegex(stavily.Failed, r"^no answer from 127.0.0.1:1: .*refused \(attempt 3\)$"):
            self.send(server, server="127.0.0.1:1")

    def test_cancellation_ends_the_retries(self):
        with mock.patch("stavily.Context.sleep", lambda context, seconds: context.cancel()):
            with self.assertRaisesRegex(stavily.Cancelled, "^cancelled after: no answer"):
                self.send(self.serve(), server="127.0.0.1:1")

    def test_bad_input_is_refused(self):
        for content in None, 3, {}, {"subject": "x"}:
            with self.subTest(content), self.assertRaisesRegex(stavily.Refused, "content must be a text, or an object with text"):
                self.send(self.serve(), content)
        for settings, told in ({"server": "x"}, "must be host:port"), ({"ca_files": ["/no/such"]}, "cannot be read: No such file"):
            with self.subTest(told), self.assertRaisesRegex(stavily.Refused, told):
                self.send(self.serve(), **settings)

    def test_as_a_process(self):
        server = self.serve()
        with Session(main.__file__, config=self.config(server)) as plugin:
            self.assertEqual(plugin.deliver({"content": "hello"})["status"], "completed")
        self.assertEqual(self.letter(server).get_content(), "hello\n")


if __name__ == "__main__":
    unittest.main()
