import json
import os
import subprocess
import sys
import tempfile
import unittest

import main
import stavily
from stavily.testing import run_action

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "testdata"))
import engine  # noqa: E402

SYSTEMD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "testdata", "systemd.py")


class RestartService(unittest.TestCase):
    """A real bus, with a stand-in for systemd on it."""

    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.host = directory.name
        names = "a.service", "broken.service", "forbidden.service"
        with open(os.path.join(cls.host, "units.json"), "w") as file:
            json.dump({name: {"active": "active", "sub": "running"} for name in names}, file)
        fake = subprocess.Popen([sys.executable, SYSTEMD, cls.host], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with fake.stdout, fake.stderr:
            if fake.stdout.readline() != b"ready\n":
                told = fake.communicate()[1].decode()
                raise unittest.SkipTest(told) if fake.returncode == 77 else AssertionError(told)
            cls.addClassCleanup(fake.wait)
            cls.addClassCleanup(fake.stdin.close)

    def execute(self, unit="a.service", *, units=("a.service", "broken.service", "forbidden.service", "gone.service"), bus=None, **options):
        params = {"unit": unit, "operation": "restart", "timeout": 20, "settle_seconds": 0, **options}
        cancelled = params.pop("cancelled", False)
        config = {"units": list(units), "bus": bus or os.path.join(self.host, "bus")}
        return run_action(main.restart_service, params, config=config, cancelled=cancelled)

    def calls(self):
        with open(os.path.join(self.host, "calls")) as file:
            return file.read().splitlines()

    def test_restarts_and_waits_until_it_runs(self):
        result = self.execute(settle_seconds=0.3)
        self.assertGreaterEqual(result.pop("duration_seconds"), 0.4)  # the job takes 0.15 seconds
        self.assertEqual(result, {"unit": "a.service", "active_state": "active", "sub_state": "running", "before": "active"})
        self.assertEqual(self.calls()[-1], "restart a.service replace")

    def test_other_operations(self):
        for operation, state in ("stop", "inactive"), ("start", "active"), ("reload", "active"):
            with self.subTest(operation):
                self.assertEqual(self.execute(operation=operation)["active_state"], state)
                self.assertEqual(self.calls()[-1], operation + " a.service replace")

    def test_service_that_does_not_come_up_is_a_failure(self):
        told = r"^broken.service is failed \(failed\) after restart: `journalctl -u broken.service` says why$"
        with self.assertRaisesRegex(stavily.Failed, told) as failed:
            self.execute("broken.service")
        self.assertEqual(failed.exception.result["active_state"], "failed")

    def test_only_what_is_allowed(self):
        with self.assertRaisesRegex(stavily.Refused, "a.service is not among the units that this host allows: b.service"):
            self.execute(units=["b.service"])
        with self.assertRaisesRegex(stavily.Refused, "allows: none"):
            self.execute(units=[])

    def test_missing_rights_are_told_with_the_remedy(self):
        with self.assertRaisesRegex(stavily.Failed, "^cannot restart forbidden.service: Interactive auth.*: give it the right by a rule of polkit"):
            self.execute("forbidden.service")

    def test_unit_that_there_is_not(self):
        with self.assertRaisesRegex(stavily.Failed, "^cannot restart gone.service: Unit gone.service not found.$"):
            self.execute("gone.service")

    def test_no_bus_is_told(self):
        with self.assertRaisesRegex(stavily.Failed, "cannot reach the bus at /no/such: No such file or directory"):
            self.execute(bus="/no/such")

    def test_time_and_cancellation(self):
        with self.assertRaisesRegex(stavily.Failed, "is still activating when the time is up: systemd goes on"):
            self.execute(timeout=0)
        with self.assertRaisesRegex(stavily.Cancelled, "cancelled while a.service is"):
            self.execute(settle_seconds=5, cancelled=True)


class RealSystemd(unittest.TestCase):
    """systemd itself, as process 1 of a container."""

    def test_what_systemd_does(self):
        with tempfile.TemporaryDirectory() as directory:
            try:
                with engine.Engine() as docker:
                    bus = docker.boot(os.path.join(directory, "run"))
                    first = self.execute(bus, "a.service")
                    stopped = self.execute(bus, "a.service", operation="stop")
                    started = self.execute(bus, "a.service", operation="start")
                    failures = {unit: self.failure(bus, unit) for unit in ("broken.service", "none.service")}
                    failures["reload"] = self.failure(bus, "a.service", operation="reload")
            except engine.NotHere as reason:
                self.skipTest(str(reason))
        self.assertEqual((first["active_state"], first["sub_state"], first["before"]), ("active", "running", "active"))
        self.assertEqual((stopped["active_state"], started["before"], started["active_state"]), ("inactive", "inactive", "active"))
        expected = {
            "broken.service": "broken.service is failed (failed) after restart: `journalctl -u broken.service` says why",
            "none.service": "cannot restart none.service: Unit none.service not found.",
            "reload": "cannot reload a.service: Job type reload is not applicable for unit a.service.",
        }
        self.assertEqual(failures, expected)

    def execute(self, bus, unit, **options):
        params = {"unit": unit, "operation": "restart", "timeout": 20, "settle_seconds": 0.3, **options}
        return run_action(main.restart_service, params, config={"units": [unit], "bus": bus})

    def failure(self, bus, unit, **options):
        with self.assertRaises(stavily.Failed) as failed:
            self.execute(bus, unit, **options)
        return str(failed.exception)


if __name__ == "__main__":
    unittest.main()
