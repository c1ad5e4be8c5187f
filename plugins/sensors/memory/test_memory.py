import os
import tempfile
import unittest
from unittest import mock

import main
import stavily
from stavily.testing import Session, run_sensor

MEMINFO = """MemTotal:       {total} kB
MemFree:           1 kB
MemAvailable:   {available} kB
SwapTotal:      {swap} kB
SwapFree:       {free} kB
HugePages_Total:       0
"""


class Memory(unittest.TestCase):
    """Memory is what a file below HOST_PROC says."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.proc = directory.name
        self.state = {}
        patch = mock.patch.dict(os.environ, HOST_PROC=self.proc)
        patch.start()
        self.addCleanup(patch.stop)

    def host(self, text):
        with open(os.path.join(self.proc, "meminfo"), "w") as file:
            file.write(text)

    def check(self, available, free=0, swap=0, **settings):
        self.host(MEMINFO.format(total=1000, available=available, swap=swap, free=free))
        return run_sensor(main.memory, {"threshold": 90, "recover_percent": 95, **settings}, state=self.state)

    def types(self, *args, **settings):
        return [event["type"] for event in self.check(*args, **settings)]

    def test_tells_once_when_it_crosses_and_once_when_it_recovers(self):
        self.assertEqual(self.types(100), [])
        self.assertEqual(self.types(99), ["memory.high"])
        self.assertEqual(self.types(0), [])
        self.assertEqual(self.types(144), [])
        self.assertEqual(self.types(145), ["memory.ok"])
        self.assertEqual(self.types(145), [])

    def test_event_says_what_was_measured(self):
        (event,) = self.check(40)
        self.assertEqual((event["severity"], event["key"]), ("high", "memory"))
        self.assertEqual(
            event["data"],
            {"percent": 96.0, "used_bytes": 960 * 1024, "available_bytes": 40 * 1024, "total_bytes": 1000 * 1024, "threshold": 90},
        )

    def test_swap_is_watched_where_asked(self):
        self.assertEqual(self.types(500, free=10, swap=100), [])
        self.assertEqual(self.types(500, free=10, swap=100, swap_threshold=50), ["memory.swap.high"])
        self.assertEqual(self.types(500, free=100, swap=100, swap_threshold=50), ["memory.swap.ok"])

    def test_host_without_swap_is_fine(self):
        self.assertEqual(self.types(500, swap_threshold=50), [])

    def test_event_that_was_not_taken_is_tried_again(self):
        self.host(MEMINFO.format(total=1000, available=1, swap=0, free=0))
        config = {"threshold": 90, "recover_percent": 95}
        with Session(main.__file__, config=config, environment={"HOST_PROC": self.proc}) as plugin:
            plugin.agent.refuse = "the spool is full"
            self.assertIn("the spool is full", plugin.request("detect_triggers")["error"])
            plugin.agent.refuse = None
            self.assertEqual([event["trigger_name"] for event in plugin.detect()], ["memory.high"])

    def test_what_is_not_granted_is_told(self):
        with self.assertRaisesRegex(stavily.Failed, "cannot read .*/meminfo: No such file or directory: allow it under `read`"):
            run_sensor(main.memory, {"threshold": 90, "recover_percent": 95})

    def test_kernel_that_does_not_tell(self):
        self.host("MemTotal: 1000 kB\n")
        with self.assertRaisesRegex(stavily.Failed, "does not tell MemAvailable"):
            run_sensor(main.memory, {"threshold": 90, "recover_percent": 95})


if __name__ == "__main__":
    unittest.main()
