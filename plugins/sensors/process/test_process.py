import os
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

import main
import stavily
from stavily.testing import run_sensor


class Fake(unittest.TestCase):
    """The host's processes are files below HOST_PROC."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.proc = directory.name
        self.state = {}
        patch = mock.patch.dict(os.environ, HOST_PROC=self.proc)
        patch.start()
        self.addCleanup(patch.stop)

    def start(self, pid, name, *arguments, pages=100, state="S"):
        os.mkdir(os.path.join(self.proc, str(pid)))
        fields = [state] + ["0"] * 20 + [str(pages)] + ["0"] * 28
        for file, text in ("stat", "{} ({}) {}\n".format(pid, name, " ".join(fields))), ("cmdline", "\0".join(arguments) + "\0"):
            with open(os.path.join(self.proc, str(pid), file), "w") as f:
                f.write(text)

    def end(self, pid):
        for file in "stat", "cmdline":
            os.unlink(os.path.join(self.proc, str(pid), file))

    def check(self, **settings):
        return run_sensor(main.process, {"min_count": 1, "checks": 1, **settings}, state=self.state)

    def types(self, **settings):
        return [event["type"] for event in self.check(**settings)]

    def test_tells_when_it_is_gone_and_when_it_is_back(self):
        self.start(1, "init")
        self.start(7, "nginx", "nginx", "-g", "daemon off;")
        self.assertEqual(self.types(name="^nginx$"), [])
        self.end(7)
        self.assertEqual(self.types(name="^nginx$"), ["process.count.low"])
        self.assertEqual(self.types(name="^nginx$"), [])
        self.start(8, "nginx")
        self.assertEqual(self.types(name="^nginx$"), ["process.count.ok"])

    def test_counts_and_memory(self):
        self.start(7, "worker", "python3", "work.py", pages=10)
        self.start(8, "worker", "python3", "work.py", pages=20)
        (event,) = self.check(cmdline=r"work\.py", max_count=1)
        self.assertEqual((event["type"], event["severity"], event["key"]), ("process.count.high", "high", r"work\.py"))
        data = event["data"]
        self.assertEqual((data["count"], data["pids"], data["rss_bytes"]), (2, [7, 8], 30 * os.sysconf("SC_PAGE_SIZE")))
        (event,) = self.check(cmdline=r"work\.py", max_count=1, max_rss_bytes=data["rss_bytes"] - 1)
        self.assertEqual((event["type"], event["data"]["max_rss_bytes"]), ("process.rss.high", data["rss_bytes"] - 1))

    def test_name_and_cmdline_must_both_be_found(self):
        self.start(7, "python3", "python3", "a.py")
        self.assertEqual(self.types(name="python3", cmdline="b.py"), ["process.count.low"])

    def test_several_checks_in_a_row(self):
        self.start(1, "init")
        for expected in [], [], ["process.count.low"], []:
            self.assertEqual(self.types(name="x", checks=3), expected)
        self.start(2, "x")
        self.assertEqual(self.types(name="x", checks=3), ["process.count.ok"])

    def test_odd_names_and_zombies(self):
        self.start(7, "a) (b", "x")
        self.start(8, "zombie", state="Z")
        self.assertEqual(self.types(name=r"^a\) \(b$"), [])
        self.assertEqual(self.types(name="zombie"), ["process.count.low"])

    def test_bad_configuration_is_told(self):
        self.start(1, "init")
        with self.assertRaisesRegex(stavily.Failed, "set name or cmdline"):
            self.check()
        with self.assertRaisesRegex(stavily.Failed, r"cmdline is not a regular expression: '\(': missing \)"):
            self.check(cmdline="(")

    def test_host_that_shows_no_process_is_told(self):
        with self.assertRaisesRegex(stavily.Failed, "that takes sandbox level full"):
            self.check(name="x")
        with mock.patch.dict(os.environ, HOST_PROC="/no/such"), self.assertRaisesRegex(stavily.Failed, "sandbox level full"):
            self.check(name="x")


@unittest.skipUnless(os.path.isdir("/proc/self"), "there is no /proc here")
class Real(unittest.TestCase):
    def test_a_real_process(self):
        mark = "stavily-test-{}".format(os.getpid())
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", mark])
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        config = {"cmdline": mark + "$", "min_count": 0, "max_count": 0, "checks": 1}
        end = time.monotonic() + 5
        while True:
            (event,) = run_sensor(main.process, config)
            if event["data"]["rss_bytes"] > 1 << 20 or time.monotonic() > end:  # it may only just be loading
                break
        self.assertEqual(event["data"]["pids"], [child.pid])
        self.assertGreater(event["data"]["rss_bytes"], 1 << 20)


if __name__ == "__main__":
    unittest.main()
