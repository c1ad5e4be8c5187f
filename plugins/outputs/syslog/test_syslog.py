import os
import re
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest
from unittest import mock

import main
import stavily
from stavily.testing import Session, run_output

LINE = re.compile(rb"^<(\d+)>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (\S+) (\S+) (\d+) (\S+) - (.*)$")


class Syslog(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "log")
        self.directory = directory.name

    def config(self, **settings):
        config = {"transport": "unix", "sockets": ["/no/such", self.path], "servers": [], "facility": "daemon", "app_name": "stavily"}
        return {**config, "timeout": 5, "ca_files": [], **settings}

    def send(self, content="hello", **settings):
        return run_output(main.syslog, {"type": "workflow", "content": content}, config=self.config(**settings))

    def datagrams(self):
        log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(log.close)
        log.bind(self.path)
        return log

    def stream(self, listener, context=None):
        """What one connection sends, in a list, once it has ended."""
        heard = []

        def serve():
            with listener, listener.accept()[0] as connection:
                try:
                    log = context.wrap_socket(connection, server_side=True) if context else connection
                    with log, log.makefile("rb") as file:
                        heard.append(file.read())
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)
        return heard, thread

    def fields(self, line):
        match = LINE.match(line)
        self.assertTrue(match, line)
        return match.groups()

    def test_form_of_a_line(self):
        log = self.datagrams()
        with mock.patch.dict(os.environ, STAVILY_AGENT_ID="web-01"):
            result = self.send({"text": "Grüße\nzwei", "severity": "high"})
        line = log.recv(4096)
        self.assertEqual(result, {"destination": self.path, "bytes": len(line), "confirmed": True})
        expected = (b"27", b"web-01", b"stavily", str(os.getpid()).encode(), b"workflow", "Grüße zwei".encode())
        self.assertEqual(self.fields(line), expected)

    def test_objects_are_json(self):
        log = self.datagrams()
        self.send({"text": "x", "run": "r-1"}, facility="local7", hostname="h")
        priority, host, *_, text = self.fields(log.recv(4096))
        self.assertEqual((priority, host, text), (b"189", b"h", b'{"text": "x", "run": "r-1", "severity": "low"}'))

    def test_socket_that_is_a_stream(self):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(1)
        heard, thread = self.stream(listener)
        self.send()
        thread.join()
        self.assertEqual(self.fields(heard[0].rstrip(b"\n"))[-1], b"hello")

    def test_tcp_has_the_length_before_it_and_the_first_server_that_takes_it(self):
        listener = socket.create_server(("127.0.0.1", 0))
        heard, thread = self.stream(listener)
        server = "127.0.0.1:{}".format(listener.getsockname()[1])
        result = self.send(transport="tcp", servers=["127.0.0.1:1", server])
        thread.join()
        length, _, line = heard[0].partition(b" ")
        self.assertEqual((int(length), result["destination"], result["confirmed"]), (len(line), server, True))
        self.assertEqual(self.fields(line)[-1], b"hello")

    def test_tls_is_verified(self):
        path, key = os.path.join(self.directory, "both.pem"), os.path.join(self.directory, "key")
        arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x -addext subjectAltName=IP:127.0.0.1"
        try:
            subprocess.run(["openssl", *arguments.split(), "-keyout", key, "-out", path], check=True, stderr=subprocess.DEVNULL)
        except FileNotFoundError:
            self.skipTest("needs openssl")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path, key)
        for ca_files, trusted in ([path], True), ([], False):
            with self.subTest(ca_files=ca_files):
                listener = socket.create_server(("127.0.0.1", 0))
                heard, thread = self.stream(listener, context)
                settings = {"transport": "tls", "servers": ["127.0.0.1:{}".format(listener.getsockname()[1])], "ca_files": ca_files}
                if trusted:
                    self.assertTrue(self.send(**settings)["confirmed"])
                    thread.join()
                    self.assertTrue(heard[0].endswith(b" hello"))
                else:
                    with self.assertRaisesRegex(stavily.Failed, "its certificate is not trusted: self.signed"):
                        self.send(**settings)

    def test_udp(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as log:
            log.bind(("127.0.0.1", 0))
            log.settimeout(5)
            result = self.send(transport="udp", servers=["127.0.0.1:{}".format(log.getsockname()[1])])
            self.assertEqual((self.fields(log.recv(4096))[-1], result["confirmed"]), (b"hello", False))

    def test_what_the_sandbox_refuses_is_told(self):
        for settings, told in (
            ({}, "the sandbox refuses datagrams at level confined: it takes level full, or transport tls or tcp"),
            ({"transport": "udp", "servers": ["x:1"]}, "the sandbox refuses UDP at every level: use transport tls or tcp"),
        ):
            with self.subTest(told), mock.patch("socket.socket", side_effect=PermissionError(13, "no")):
                with self.assertRaisesRegex(stavily.Refused, told):
                    self.send(**settings)

    def test_bad_input_is_told(self):
        for content, told in (None, "must be a text or an object, is None"), ({"text": "x", "severity": "bad"}, "severity must be one of low"):
            with self.subTest(told), self.assertRaisesRegex(stavily.Refused, told):
                self.send(content)
        with self.assertRaisesRegex(stavily.Refused, "servers is not set, and transport tcp needs it"):
            self.send(transport="tcp")
        with self.assertRaisesRegex(stavily.Refused, "a server must be host:port, is 'x'"):
            self.send(transport="tcp", servers=["x"])
        with self.assertRaisesRegex(stavily.Failed, "^nobody takes the message: /no/such: No such file or directory; .*/log: "):
            self.send()
        with self.assertRaisesRegex(stavily.Failed, "127.0.0.1:1: Connection refused$"):
            self.send(transport="tcp", servers=["127.0.0.1:1"])

    def test_as_a_process(self):
        log = self.datagrams()
        with Session(main.__file__, config=self.config()) as plugin:
            self.assertEqual(plugin.deliver({"content": "hello"})["status"], "completed")
        self.assertEqual(self.fields(log.recv(4096))[-1], b"hello")


if __name__ == "__main__":
    unittest.main()
