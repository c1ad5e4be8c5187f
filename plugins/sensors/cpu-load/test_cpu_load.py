import os
import tempfile
import unittest
from unittest import mock

import main
import stavily
from stavily.testing import run_sensor


class CpuLoad(unittest.TestCase):
    """The host is two files below HOST_PROC; its two processors have 200 ticks between two checks."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.proc = directory.name
        self.ticks = [1000, 0, 0, 5000, 100, 0, 0, 0, 77, 0]
        self.state = {}
        patch = mock.patch.dict(os.environ, HOST_PROC=self.proc)
        patch.start()
        self.addCleanup(patch.stop)

    def write(self, name, text):
        with open(os.path.join(self.proc, name), "w") as file:
            file.write(text)

    def check(self, busy=0, load=0.0, **settings):
        self.ticks[0] += 2 * busy
        self.ticks[3] += 200 - 2 * busy
        ticks = " ".join(map(str, self.ticks))
        self.write("stat", "cpu  {0}\ncpu0 {0}\ncpu1 {0}\nintr 1\n".format(ticks))
        self.write("loadavg", "{:.2f} 0.00 0.00 1/100 1\n".format(load))
        config = {"threshold": 90, "checks": 2, "recover_percent": 90, **settings}
        return run_sensor(main.cpu_load, config, state=self.state)

    def types(self, *args, **settings):
        return [event["type"] for event in self.check(*args, **settings)]

    def test_tells_after_several_checks_and_once(self):
        self.assertEqual(self.types(), [])
        self.assertEqual(self.types(91), [])
        self.assertEqual(self.types(91), ["cpu.high"])
        self.assertEqual(self.types(100), [])
        self.assertEqual(self.types(82), [])
        self.assertEqual(self.types(81), ["cpu.ok"])
        self.assertEqual(self.types(81), [])

    def test_one_quiet_check_begins_anew(self):
        self.types()
        for busy in 91, 90, 91, 90:
            self.assertEqual(self.types(busy), [])

    def test_event_says_what_was_measured(self):
        self.check()
        (event,) = self.check(96, load=3, checks=1)
        self.assertEqual((event["severity"], event["key"]), ("high", "cpu"))
        self.assertEqual(
            event["data"], {"percent": 96.0, "load_per_processor": 1.5, "processors": 2, "threshold": 90, "checks": 1}
        )

    def test_waiting_for_a_disk_is_idle(self):
        self.check()
        self.ticks[4] += 200
        self.ticks[3] -= 200
        self.assertEqual(self.types(0, checks=1, threshold=10), [])

    def test_load_is_watched_where_asked(self):
        self.assertEqual(self.types(load=4.1, checks=1), [])
        self.assertEqual(self.types(load=4.1, checks=1, load_threshold=2), ["cpu.load.high"])
        self.assertEqual(self.types(load=3.6, checks=1, load_threshold=2), ["cpu.load.ok"])

    def test_restart_of_the_host_is_no_load(self):
        self.check()
        self.ticks = [10, 0, 0, 10, 0, 0, 0, 0, 0, 0]
        self.assertEqual(self.types(100, checks=1), [])
        self.assertEqual(self.types(100, checks=1), ["cpu.high"])

    def test_what_is_not_granted_is_told(self):
        with self.assertRaisesRegex(stavily.Failed, "cannot read .*/stat: No such file or directory: allow it"):
            run_sensor(main.cpu_load, {})


if __name__ == "__main__":
    unittest.main()
