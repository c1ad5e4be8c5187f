import os
import random
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest

import certificate
import main
import stavily
from stavily.testing import Clock, run_sensor


def openssl(*arguments):
    try:
        subprocess.run(["openssl", *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        raise unittest.SkipTest("needs openssl") from None


class CertificateExpiry(unittest.TestCase):
    """Certificates are openssl's."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.state = {}

    def make(self, days, name="web", subject="/O=Acme/CN=www.example.com"):
        path = os.path.join(self.directory, name + ".pem")
        openssl(
            *"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days".split(), str(days),
            "-keyout", path + ".key", "-out", path, "-subj", subject,
        )
        return path

    def check(self, *files, servers=(), **settings):
        config = {"files": list(files), "servers": list(servers), "days": 21, "critical_days": 7, "timeout": 5, **settings}
        return run_sensor(main.certificate_expiry, config, state=self.state)

    def der(self, path):
        return main.from_file(path)[0]

    def test_tells_as_it_gets_worse_and_when_it_is_renewed(self):
        path = self.make(30)
        self.assertEqual(self.check(path), [])
        seen = []
        with Clock(time.time()) as clock:
            for days in 10, 5, 10, 6, 1:
                clock.advance(days * 86400)
                seen += [(event["type"], event["severity"], event["data"]["level"]) for event in self.check(path)]
        expected = [("medium", "expiring"), ("high", "critical"), ("critical", "expired")]
        self.assertEqual(seen, [("certificate.expiring",) + one for one in expected])
        self.make(40)
        (event,) = self.check(path)
        self.assertEqual((event["type"], event["severity"], event["key"]), ("certificate.renewed", "low", path))

    def test_event_says_whose_and_when(self):
        before = time.time()
        (event,) = self.check(self.make(10))
        data = event["data"]
        self.assertEqual((data["subject"], data["level"]), ("www.example.com", "expiring"))
        self.assertAlmostEqual(data["days"], 10, delta=0.1)
        end = time.mktime(time.strptime(data["not_after"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
        self.assertAlmostEqual(end, before + 10 * 86400, delta=30)

    def test_first_of_several_counts(self):
        both = os.path.join(self.directory, "both.pem")
        with open(both, "wb") as file:
            for path in self.make(300, "a"), self.make(3, "b", "/CN=b"):
                with open(path, "rb") as one:
                    file.write(b"some text\n" + one.read())
        (event,) = self.check(both)
        self.assertEqual((event["data"]["subject"], event["data"]["level"]), ("b", "critical"))

    def test_dates_of_both_kinds(self):
        for days in 100, 365 * 40:  # after 2049 the time is of another type
            with self.subTest(days):
                self.assertAlmostEqual(certificate.ends(self.der(self.make(days))), time.time() + days * 86400, delta=30)

    def test_server_that_nobody_trusts(self):
        path = self.make(3)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path, path + ".key")
        listener = socket.create_server(("127.0.0.1", 0))

        def serve():
            with listener, listener.accept()[0] as connection:
                context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)
        (event,) = self.check(servers=["127.0.0.1:{}".format(listener.getsockname()[1])])
        self.assertEqual((event["data"]["subject"], event["data"]["level"]), ("www.example.com", "critical"))

    def test_what_cannot_be_looked_at_is_told_and_holds_up_nothing(self):
        good, empty = self.make(3), os.path.join(self.directory, "empty")
        open(empty, "w").close()
        with self.assertRaises(stavily.Failed) as failed:
            self.check("/no/such", empty, good, servers=["127.0.0.1:1"])
        self.assertRegex(str(failed.exception), "^cannot be looked at: /no/such: No such file or directory; .*/empty: has no certificate in PEM")
        self.assertRegex(str(failed.exception), "127.0.0.1:1: Connection refused$")
        self.assertEqual(self.state, {good: "critical"})
        with self.assertRaisesRegex(stavily.Failed, "^nothing to look at: set files or servers$"):
            self.check()

    def test_damaged_certificates_are_errors_and_nothing_else(self):
        der, dice = self.der(self.make(3)), random.Random(1)
        self.assertEqual(certificate.name(der), "www.example.com")
        damaged = [der[:end] for end in range(len(der))]
        for _ in range(3000):
            at = dice.randrange(len(der))
            damaged.append(der[:at] + bytes([dice.randrange(256)]) + der[at + 1 :])
        for one in damaged:
            try:
                certificate.ends(one), certificate.name(one)
            except ValueError:
                pass


if __name__ == "__main__":
    unittest.main()
