"""What the modules of stavily.tools promise by themselves; the official plugins' tests hold the rest of it."""

import http.server
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from unittest import mock

import stavily
from stavily.tools import bounded, dbus, delivery, places, program, web

from . import SOURCE


class Import(unittest.TestCase):
    def test_only_who_uses_it_imports_it(self):
        source = "import stavily, sys; print([name for name in sys.modules if name.startswith('stavily.tools')])"
        done = subprocess.run([sys.executable, "-S", "-c", source], stdout=subprocess.PIPE, env={"PYTHONPATH": SOURCE}, check=True)
        self.assertEqual(done.stdout.strip(), b"[]")


class Bounded(unittest.TestCase):
    def test_catastrophic_expression_is_given_up(self):
        pattern, begin = bounded.compiled("key", "^(a+)+$"), time.monotonic()
        with self.assertRaisesRegex(bounded.TooSlow, "took more than 0.1 seconds"), bounded.Limit(0.1):
            pattern.search("a" * 40 + "!")
        self.assertLess(time.monotonic() - begin, 3)
        with bounded.Limit(5):
            self.assertTrue(pattern.search("aaa"))

    def test_wrong_expression_is_told(self):
        with self.assertRaisesRegex(stavily.Failed, r"^key is not a regular expression: '\(': missing \)"):
            bounded.compiled("key", "(")

    def test_other_threads_have_no_limit(self):
        found = []

        def search():
            with bounded.Limit(0.001):
                found.append(bounded.compiled("key", "b").search("b" * 10))

        thread = threading.Thread(target=search)
        thread.start()
        thread.join()
        self.assertTrue(found[0])


class Dbus(unittest.TestCase):
    def test_values_are_read_as_they_are_written_and_cut_ones_are_errors(self):
        whole = dbus.message(1, [(dbus.PATH, "o", "/x")], "sas", ["text", ["a", "b"]])
        fields = int.from_bytes(whole[12:16], "little")
        body = whole[16 + (fields + 7) // 8 * 8 :]
        self.assertEqual(dbus.Reader(body, "<").read("sas"), ["text", ["a", "b"]])
        for end in range(4):
            with self.assertRaises(Exception):
                dbus.Reader(body[:end], "<").read("sas")

    def test_every_type(self):
        # y, padding to 8, (b t), and a variant whose value is aligned to 4
        data = b"\7" + bytes(7) + (1).to_bytes(4, "big") + bytes(4) + (2).to_bytes(8, "big") + b"\1u\0\0" + (9).to_bytes(4, "big")
        self.assertEqual(dbus.Reader(data, ">").read("y(bt)v"), [7, (1, 2), 9])

    def test_signatures(self):
        self.assertEqual(dbus.split("a(sa{sv})u"), ("a(sa{sv})", "u"))
        with self.assertRaises(ValueError):
            dbus.split("(s")

    def test_no_bus(self):
        with self.assertRaisesRegex(dbus.BusError, "^cannot reach the bus at /no/such: No such file or directory$"):
            dbus.Bus("/no/such", 1)


class Places(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.host = os.path.realpath(directory.name)
        self.root = os.path.join(self.host, "root")
        os.makedirs(os.path.join(self.root, "below"))

    def test_only_below_the_roots(self):
        os.symlink(self.host, os.path.join(self.root, "up"))
        self.assertEqual(places.granted(self.root + "/below", [self.root]), self.root + "/below")
        for path in self.host, self.root + "-2", self.root + "/..", self.root + "/up", "root":
            with self.subTest(path), self.assertRaises(stavily.Refused):
                places.granted(path, [self.root])
        with self.assertRaisesRegex(stavily.Failed, "none is not a directory on this host"):
            places.granted(self.root + "/none", [self.root])

    def test_no_link_is_followed_on_the_way(self):
        os.symlink(self.root, os.path.join(self.host, "link"))
        with places.opened(places.parts(self.root)) as directory:
            self.assertEqual(os.stat("below", dir_fd=directory).st_ino, os.stat(self.root + "/below").st_ino)
        with self.assertRaises(OSError), places.opened(places.parts(self.host + "/link")):
            self.fail("a link was followed")


class Program(unittest.TestCase):
    def run_python(self, source, **options):
        return program.run([sys.executable, "-c", source], **{"seconds": 20, "most": 10, **options})

    def test_output_is_kept_in_part(self):
        ended = self.run_python("import sys; print('x' * 100000); print('err', file=sys.stderr); sys.exit(3)")
        self.assertEqual(ended, program.Ended(3, "x" * 10, "err\n", True, ""))
        self.assertEqual(program.ending(3, "a\nb\n"), "exit code 3: b")
        self.assertEqual(program.ending(-9, ""), "ended by SIGKILL")

    def test_time_and_cancellation(self):
        self.assertRegex(self.run_python("import time; time.sleep(60)", seconds=0.2).stopped, r"^stopped after \d\.\d seconds$")
        self.assertEqual(self.run_python("import time; time.sleep(60)", cancelled=lambda: True).stopped, "cancelled")

    def test_what_interrupts_the_plugin_ends_the_program(self):
        with mock.patch.object(program, "wait", side_effect=KeyboardInterrupt), mock.patch.object(program, "stop", wraps=program.stop) as stop:
            with self.assertRaises(KeyboardInterrupt):
                self.run_python("import time; time.sleep(60)")
        self.assertIsNotNone(stop.call_args[0][0].returncode)


class Server(http.server.HTTPServer):
    statuses = (200,)

    def __enter__(self):
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.thread.join()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.keys.append(self.headers["Idempotency-Key"])
        self.send_response(self.server.statuses[min(len(self.server.keys), len(self.server.statuses)) - 1])
        self.end_headers()
        self.wfile.write(b"0123456789")

    do_POST = do_GET

    def log_message(self, *_):
        pass


class Web(unittest.TestCase):
    def serve(self, *statuses):
        server = Server(("127.0.0.1", 0), Handler)
        server.statuses, server.keys = statuses, []
        return server

    def test_urls(self):
        self.assertEqual(web.checked("https://x:1/a?b", "url").port, 1)
        for url in "ftp://x/", "https://", "https://me:pass@x/", "https://x:99999/", "x":
            with self.subTest(url), self.assertRaisesRegex(ValueError, "^url "):
                web.checked(url, "url")

    def test_exchange_reads_so_much(self):
        with self.serve(200, 500) as server:
            url = web.checked("http://127.0.0.1:{}/".format(server.server_port), "url")
            answer = web.exchange("GET", url, headers={}, timeout=5, most_of_errors=3)
            self.assertEqual((answer.status, answer.body, answer.cut), (200, b"", False))
            answer = web.exchange("GET", url, headers={}, timeout=5, most_of_errors=3)
            self.assertEqual((answer.status, answer.body, answer.cut), (500, b"012", True))
        with self.assertRaisesRegex(web.NoAnswer, "^no answer from 127.0.0.1: "):
            web.exchange("GET", url, headers={}, timeout=5)

    def test_silence_is_bounded(self):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen(1)
            url = web.checked("http://127.0.0.1:{}/".format(silent.getsockname()[1]), "url")
            with self.assertRaisesRegex(web.NoAnswer, "timed out"):
                web.exchange("GET", url, headers={}, timeout=0.05)

    def test_delivery_repeats_with_one_key(self):
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)
        ctx = stavily.Context(instruction_id="i-1", config={})
        with self.serve(503, 200) as server, mock.patch.object(delivery, "FIRST_WAIT", 0):
            result = delivery.deliver("POST", "http://127.0.0.1:{}/".format(server.server_port), b"x", {}, ctx, timeout=5, retries=2)
            self.assertEqual((result, server.keys), ({"status_code": 200, "attempts": 2}, ["i-1", "i-1"]))


if __name__ == "__main__":
    unittest.main()
