"""stavily.host, and what stands in for the agent, the clock and the host in tests."""

import logging
import os
import tempfile
import time
import unittest
from unittest import mock

import stavily
from stavily import testing
from stavily.testing import Session

from . import plugin


class Host(unittest.TestCase):
    def test_variables_say_where_the_host_is(self):
        variables = {"HOST_PROC": "/host/proc", "HOST_SYS": "", "HOST_ETC": "/h/etc", "HOST_VAR": "/h/var", "HOST_ROOT": "/h"}
        with mock.patch.dict(os.environ, variables):
            self.assertEqual(stavily.host.proc(), "/host/proc")
            self.assertEqual(stavily.host.proc("net", "dev"), "/host/proc/net/dev")
            self.assertEqual(stavily.host.sys("class/net"), "/sys/class/net")
            self.assertEqual(stavily.host.etc("/passwd"), "/h/etc/passwd")
            self.assertEqual(stavily.host.var("log"), "/h/var/log")
            self.assertEqual(stavily.host.root("/srv"), "/h/srv")

    def test_a_mounted_host_is_found(self):
        with tempfile.TemporaryDirectory() as mounted, mock.patch.dict(os.environ, clear=True):
            with mock.patch("stavily.host._MOUNT", mounted):
                os.mkdir(os.path.join(mounted, "etc"))
                self.assertEqual(stavily.host.etc("passwd"), "/etc/passwd")  # no sign that it is a host
                os.mkdir(os.path.join(mounted, "proc"))
                with open(os.path.join(mounted, "proc", "uptime"), "w"):
                    pass
                self.assertEqual(stavily.host.etc("passwd"), mounted + "/etc/passwd")
                self.assertEqual(stavily.host.proc("1"), mounted + "/proc/1")
                self.assertEqual(stavily.host.sys(), "/sys")  # not mounted

    def test_there_is_no_other_module(self):
        with self.assertRaisesRegex(AttributeError, "module 'stavily' has no 'hosts': it has .*host, "):
            stavily.hosts


class HostFiles(unittest.TestCase):
    def test_there_are_these_and_no_others(self):
        before = os.environ.get("HOST_PROC")
        with testing.host_files({"proc/meminfo": "MemTotal: 1 kB\n", "/etc/hostname": b"\xff"}) as root:
            with open(stavily.host.proc("meminfo")) as file:
                self.assertEqual(file.read(), "MemTotal: 1 kB\n")
            with open(os.path.join(root, "etc", "hostname"), "rb") as file:
                self.assertEqual(file.read(), b"\xff")
            self.assertEqual(os.listdir(stavily.host.proc()), ["meminfo"])
            self.assertEqual(os.listdir(stavily.host.sys()), [])
        self.assertFalse(os.path.exists(root))
        self.assertEqual(os.environ.get("HOST_PROC"), before)

    def test_processes_see_them(self):
        with testing.host_files({}) as root, Session(plugin("where")) as process:
            self.assertEqual(process.execute({})["data"], {"proc": root + "/proc"})


class FakeClock(unittest.TestCase):
    def test_only_advance_and_sleep_move_it(self):
        with testing.Clock(1000) as clock:
            begin = time.monotonic()
            clock.advance(3600)
            time.sleep(60)
            self.assertEqual((time.time(), time.time_ns()), (4660, 4660 * 10**9))
            self.assertEqual(time.monotonic() - begin, 3660)
            with self.assertRaisesRegex(ValueError, "time does not go back"):
                clock.advance(-1)
        self.assertGreater(time.time(), 1e9)

    def test_a_run_that_sleeps_takes_no_time(self):
        @stavily.action
        def wait(ctx):
            ctx.sleep(30)
            return ctx.remaining

        begin = time.monotonic()
        with testing.Clock():
            self.assertAlmostEqual(testing.run_action(wait, timeout=100), 70)
        self.assertLess(time.monotonic() - begin, 5)


class Recorded(unittest.TestCase):
    def test_logs_progress_and_state(self):
        @stavily.action
        def work(params, ctx, log, state):
            log.debug("unseen")
            log.warning("two\nlines")
            logging.getLogger("another").log(35, "of its own level")
            ctx.progress(40, "half")
            state["done"] = (1, 2)
            return {"n": params.n}

        worker = testing.Plugin(work)
        level = logging.getLogger().level
        self.assertEqual(worker.execute({"n": 1}), {"n": 1})
        self.assertEqual(worker.logs, ["warn: two", "warn: lines", "warn: of its own level"])
        self.assertEqual(worker.progress, [{"percent": 40, "message": "half"}])
        self.assertEqual(worker.state, {"done": [1, 2]})
        self.assertEqual(logging.getLogger().level, level)

    def test_events_of_each_check_and_of_all(self):
        @stavily.sensor(interval=1)
        def sense(config, emit):
            emit("a.b", data={"n": config.n}, key="k")

        sensor = testing.Plugin(sense, {"n": 1})
        (event,) = sensor.check()
        sensor.check()
        self.assertEqual((event["type"], event["data"], event["key"]), ("a.b", {"n": 1}, "k"))
        self.assertEqual([event["id"] for event in sensor.events], ["event-1", "event-2"])
        sensor.agent.refuse = "the spool is full"
        with self.assertRaisesRegex(stavily.AgentError, "^the agent refused report_trigger: the spool is full$"):
            sensor.check()

    def test_outputs(self):
        @stavily.output
        def deliver(message, config):
            return [message.id, config.to]

        self.assertEqual(testing.Plugin(deliver, {"to": "x"}).deliver({"id": "m"}), ["m", "x"])


if __name__ == "__main__":
    unittest.main()
