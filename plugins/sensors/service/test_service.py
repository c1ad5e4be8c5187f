import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import main
import stavily
from stavily.tools.dbus import Bus, BusError
from stavily.testing import Plugin, run_sensor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "testdata"))
import engine  # noqa: E402

SYSTEMD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "testdata", "systemd.py")


class Service(unittest.TestCase):
    """A real bus, with a stand-in for systemd on it."""

    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.host = directory.name
        cls.units(**{"a.service": "active", "b.service": "active", "c.timer": "active"})
        fake = subprocess.Popen([sys.executable, SYSTEMD, cls.host], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with fake.stdout, fake.stderr:
            if fake.stdout.readline() != b"ready\n":
                told = fake.communicate()[1].decode()
                raise unittest.SkipTest(told) if fake.returncode == 77 else AssertionError(told)
            cls.addClassCleanup(fake.wait)
            cls.addClassCleanup(fake.stdin.close)

    @classmethod
    def units(cls, result="success", **states):
        with open(os.path.join(cls.host, "units.new"), "w") as file:
            json.dump({name: {"active": state, "sub": "x", "result": result} for name, state in states.items()}, file)
        os.replace(os.path.join(cls.host, "units.new"), os.path.join(cls.host, "units.json"))

    def setUp(self):
        self.state = {}

    def check(self, *units, checks=1):
        config = {"units": list(units), "checks": checks, "bus": os.path.join(self.host, "bus")}
        return run_sensor(main.service, config, state=self.state)

    def test_tells_when_it_is_down_and_when_it_is_up(self):
        self.units(**{"a.service": "active", "b.service": "active"})
        self.assertEqual(self.check("a.service", "b.service"), [])
        self.units("oom-kill", **{"a.service": "failed", "b.service": "active"})
        (event,) = self.check("a.service", "b.service")
        self.assertEqual((event["type"], event["severity"], event["key"]), ("service.down", "high", "a.service"))
        expected = {"description": "The unit a.service", "load_state": "loaded", "active_state": "failed", "sub_state": "x", "checks": 1}
        self.assertEqual(event["data"], {"unit": "a.service", "result": "oom-kill", **expected})
        self.assertEqual(self.check("a.service", "b.service"), [])
        self.units(**{"a.service": "reloading", "b.service": "active"})
        (event,) = self.check("a.service", "b.service")
        self.assertEqual((event["type"], event["key"]), ("service.up", "a.service"))

    def test_several_checks_in_a_row(self):
        self.units(**{"a.service": "activating"})
        for expected in 0, 0, 1, 0:
            self.assertEqual(len(self.check("a.service", checks=3)), expected)

    def test_unit_that_there_is_not(self):
        (event,) = self.check("no-such.service")
        self.assertEqual((event["data"]["load_state"], event["data"]["result"]), ("not-found", ""))

    def test_errors_of_the_bus_have_a_name(self):
        with Bus(os.path.join(self.host, "bus"), 5) as bus:
            with self.assertRaisesRegex(BusError, "no.such.name") as raised:
                bus.call("no.such.name", "/", "a.b", "C")
            self.assertEqual(raised.exception.name, "org.freedesktop.DBus.Error.ServiceUnknown")
            names = bus.call("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "ListNames")[0]  # and it still works
            self.assertIn("org.freedesktop.systemd1", names)


class RealSystemd(unittest.TestCase):
    """systemd itself, as process 1 of a container."""

    def test_units_of_all_kinds(self):
        with tempfile.TemporaryDirectory() as directory:
            try:
                with engine.Engine() as docker:
                    bus = docker.boot(os.path.join(directory, "run"))
                    units = ["a.service", "dbus.socket", "broken.service", "none.service"]
                    plugin = Plugin(main.service, {"units": units, "checks": 1, "bus": bus})
                    found = {event["key"]: event["data"] for event in plugin.check()}
                    docker.docker("exec", "systemd", "/usr/bin/systemctl", "kill", "--signal=KILL", "a.service")
                    docker.docker("exec", "systemd", "/usr/bin/systemctl", "start", "broken.service")
                    time.sleep(0.5)
                    (killed,) = plugin.check()
                    fresh = Plugin(main.service, {"units": ["broken.service"], "checks": 1, "bus": bus}).check()[0]
                    docker.docker("exec", "systemd", "/usr/bin/systemctl", "start", "a.service")
                    (up,) = plugin.check()
            except engine.NotHere as reason:
                self.skipTest(str(reason))
        states = {name: (data["load_state"], data["active_state"], data["result"]) for name, data in found.items()}
        self.assertEqual(states, {"broken.service": ("loaded", "inactive", "success"), "none.service": ("not-found", "inactive", "")})
        self.assertEqual((killed["type"], killed["data"]["active_state"], killed["data"]["result"]), ("service.down", "failed", "signal"))
        self.assertEqual((fresh["data"]["active_state"], fresh["data"]["result"]), ("failed", "exit-code"))
        self.assertEqual((up["type"], up["data"]["description"]), ("service.up", "The unit A"))


class NoBus(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "bus")

    def answer(self, *answers):
        """Something at the socket that gives these answers, the third when it hears Hello, and closes."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(1)

        def serve():
            with listener, listener.accept()[0] as connection:
                for answer, awaited in zip(answers, (b"AUTH", b"DATA", b"Hello")):
                    heard = b""
                    while awaited not in heard:
                        heard += connection.recv(4096)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)

    def failure(self):
        with self.assertRaises(stavily.Failed) as failed:
            run_sensor(main.service, {"units": ["a.service"], "checks": 1, "bus": self.path})
        return str(failed.exception)

    def test_no_bus_is_told(self):
        self.assertRegex(self.failure(), "cannot be asked: cannot reach the bus at .*: No such file or directory: set `bus`")

    def test_user_that_is_rejected(self):
        self.answer(b"REJECTED EXTERNAL\r\n")
        self.assertIn("the bus does not accept this user", self.failure())

    def test_what_is_no_bus(self):
        for number, (answer, told) in enumerate(
            [
                (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers is not a bus"),
                (b"l\x02\x00\x01" + b"\xff" * 12, "4294967295|8589934590"),
                (b"l\x02\x00\x01" + (4).to_bytes(4, "little") + bytes(4) + (0).to_bytes(4, "little") + b"abc", "closed the connection"),
            ]
        ):
            with self.subTest(told):
                self.path += str(number)
                self.answer(b"DATA\r\n", b"OK 1\r\n", answer)
                self.assertRegex(self.failure(), told)


if __name__ == "__main__":
    unittest.main()
