import os
import signal
import subprocess
import sys
import time
import unittest
from unittest import mock

import main
import stavily
from stavily.testing import run_action

NAME = "victim-{}".format(os.getpid())  # of at most 15 bytes, and nobody else's


@unittest.skipUnless(os.path.exists("/proc/self/stat"), "there is no /proc here")
class KillProcess(unittest.TestCase):
    def start(self, stubborn=False):
        program = (
            "import ctypes, signal, sys, time\n"
            "ctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)\n"  # PR_SET_NAME
            "signal.signal(signal.SIGTERM, signal.{})\n"
            "print('up', flush=True)\ntime.sleep(60)"
        ).format("SIG_IGN" if stubborn else "SIG_DFL")
        child = subprocess.Popen([sys.executable, "-c", program, NAME], stdout=subprocess.PIPE)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        child.stdout.readline()
        return child

    def kill(self, allow=(NAME,), cancelled=False, **params):
        params = {"max_processes": 1, "grace_seconds": 10, "force": True, **params}
        return run_action(main.kill_process, params, config={"allow": list(allow)}, cancelled=cancelled)

    def ticks(self, child):
        return main.look(child.pid).start_ticks

    def test_by_number_and_start(self):
        child = self.start()
        target = {"pid": child.pid, "start_ticks": self.ticks(child), "name": NAME}
        self.assertEqual(self.kill(pid=child.pid, start_ticks=target["start_ticks"]), {"ended": [target], "forced": [], "left": []})
        self.assertEqual(child.wait(), -signal.SIGTERM)

    def test_by_name(self):
        children = [self.start(), self.start()]
        with self.assertRaisesRegex(stavily.Refused, "2 processes are named '{}', and max_processes is 1".format(NAME)):
            self.kill(name=NAME)
        result = self.kill(name=NAME, max_processes=2, allow=["victim-.*"])
        self.assertEqual(sorted(one["pid"] for one in result["ended"]), sorted(child.pid for child in children))

    def test_stubborn_one_is_forced_or_left(self):
        child = self.start(stubborn=True)
        ticks = self.ticks(child)
        with self.assertRaisesRegex(stavily.Failed, "^still there: {}$".format(child.pid)) as failed:
            self.kill(pid=child.pid, start_ticks=ticks, grace_seconds=0.2, force=False)
        self.assertEqual(failed.exception.result, {"ended": [], "forced": [], "left": [child.pid]})
        self.assertEqual(self.kill(pid=child.pid, start_ticks=ticks, grace_seconds=0.2)["forced"], [child.pid])
        self.assertEqual(child.wait(), -signal.SIGKILL)

    def test_another_process_with_that_number_is_left_alone(self):
        child = self.start()
        with self.assertRaisesRegex(stavily.Failed, "process {} has ended already".format(child.pid)):
            self.kill(pid=child.pid, start_ticks=self.ticks(child) + 1)
        found = main.look(child.pid)._replace(start_ticks=1)
        self.assertFalse(main.send(found, None, signal.SIGTERM))
        time.sleep(0.1)
        self.assertIsNone(child.poll())

    def test_only_what_is_allowed(self):
        child = self.start()
        for allow, told in (
            ([], "'{}' is not among the processes that this host allows: none".format(NAME)),
            (["victim", "[0-9]+"], r"allows: victim, \[0-9\]\+"),
            (["("], "config.allow holds what is not a regular expression: missing"),
        ):
            with self.subTest(allow), self.assertRaisesRegex(stavily.Refused, told):
                self.kill(allow=allow, name=NAME)
        self.assertIsNone(child.poll())

    def test_own_agent_is_refused(self):
        with self.assertRaisesRegex(stavily.Refused, "is this agent, or what started it"):
            self.kill(allow=[".*"], pid=os.getppid(), start_ticks=main.look(os.getppid()).start_ticks)

    def test_what_is_not_clear_is_refused(self):
        for params, told in (
            ({}, "either pid and start_ticks, or name"),
            ({"pid": 5, "name": "x"}, "either pid and start_ticks, or name"),
            ({"pid": 5}, "give start_ticks, too"),
        ):
            with self.subTest(told), self.assertRaisesRegex(stavily.Refused, told):
                self.kill(**params)
        with self.assertRaisesRegex(stavily.Failed, "there is no process named 'no-such'"):
            self.kill(name="no-such")

    def test_sandbox_is_told(self):
        with mock.patch("os.getpid", return_value=1), self.assertRaisesRegex(stavily.Refused, "no permission changes that: stop the service"):
            self.kill(name=NAME)
        with mock.patch("os.listdir", side_effect=PermissionError(13, "no")), self.assertRaisesRegex(stavily.Refused, "security.sandbox.level: none"):
            self.kill(name=NAME)

    def test_cancelled_before_forcing(self):
        child = self.start(stubborn=True)
        with self.assertRaisesRegex(stavily.Cancelled, "^cancelled"):
            self.kill(pid=child.pid, start_ticks=self.ticks(child), cancelled=True)
        self.assertIsNone(child.poll())


if __name__ == "__main__":
    unittest.main()
