import unittest

import main
import stavily
from stavily.testing import Plugin, host_files


class Heartbeat(unittest.TestCase):
    def test_counts_over_restarts(self):
        with host_files({"proc/uptime": "12.34 5.67\n"}):
            plugin = Plugin(main.heartbeat, {"label": "web"})
            (event,) = plugin.check()
            self.assertEqual((event["type"], event["severity"], event["key"]), ("heartbeat", "low", "web"))
            self.assertEqual(event["data"], {"sequence": 1, "uptime_seconds": 12.34})
            plugin = Plugin(main.heartbeat, {"label": "web"}, state=plugin.state)
            self.assertEqual(plugin.check()[0]["data"]["sequence"], 2)

    def test_event_that_was_not_taken_keeps_its_number(self):
        plugin = Plugin(main.heartbeat, {"label": "web"})
        plugin.agent.refuse = "the spool is full"
        with self.assertRaises(stavily.AgentError):
            plugin.check()
        plugin.agent.refuse = None
        self.assertEqual(plugin.check()[0]["data"]["sequence"], 1)

    def test_host_that_does_not_say(self):
        with host_files({"proc/other": ""}):
            self.assertIsNone(Plugin(main.heartbeat, {"label": "web"}).check()[0]["data"]["uptime_seconds"])


if __name__ == "__main__":
    unittest.main()
