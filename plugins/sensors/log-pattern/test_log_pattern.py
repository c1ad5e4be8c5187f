import os
import tempfile
import time
import unittest
from unittest import mock

import main
import stavily
from stavily.testing import Plugin, Session


class LogPattern(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.path = os.path.join(self.directory, "app.log")
        self.write("error at the beginning\n")

    def write(self, text, mode="a", path=None):
        with open(path or self.path, mode) as file:
            file.write(text)

    def config(self, **settings):
        config = {"directory": self.directory, "file": "app.log", "pattern": "error", "min_count": 1, "severity": "medium"}
        return {**config, "from_start": False, "max_bytes": 1 << 23, **settings}

    def plugin(self, state=None, **settings):
        return Plugin(main.log_pattern, self.config(**settings), state=state)

    def following(self, **settings):
        plugin = self.plugin(**settings)
        self.assertEqual(plugin.check(), [])
        return plugin

    def lines(self, plugin):
        return [line for event in plugin.check() for line in event["data"]["lines"]]

    def test_only_what_comes_and_matches(self):
        plugin = self.following(ignore="harmless")
        self.write("error 1\nfine\nharmless error\nerror 2\r\nerror without an end")
        (event,) = plugin.check()
        self.assertEqual((event["type"], event["severity"], event["key"]), ("log.match", "medium", self.path))
        self.assertEqual(event["data"], {"path": self.path, "count": 2, "lines": ["error 1", "error 2"], "given_up": 0})
        self.assertEqual(plugin.check(), [])
        self.write(" yet\n")
        self.assertEqual(self.lines(plugin), ["error without an end yet"])

    def test_from_start(self):
        self.assertEqual(self.lines(self.plugin(from_start=True)), ["error at the beginning"])

    def test_unfinished_line_at_the_first_look_is_not_cut(self):
        self.write("an err")
        plugin = self.following()
        self.write("or\n")
        self.assertEqual(self.lines(plugin), ["an error"])

    def test_counts(self):
        plugin = self.following(min_count=3)
        self.write("error\n" * 2)
        self.assertEqual(plugin.check(), [])
        self.write("error\n" * 12)
        (event,) = plugin.check()
        self.assertEqual((event["data"]["count"], len(event["data"]["lines"])), (12, 10))

    def test_rotation_by_renaming_loses_nothing(self):
        plugin = self.following()
        self.write("error 1\n")
        os.rename(self.path, self.path + ".1")
        self.write("error 2\n", path=self.path + ".1")
        self.write("error 3\n")
        self.assertEqual(self.lines(plugin), ["error 1", "error 2", "error 3"])
        self.assertEqual(plugin.check(), [])

    def test_truncation_begins_anew(self):
        plugin = self.following()
        self.write("error 1\n", "w")
        self.assertEqual(self.lines(plugin), ["error 1"])
        # longer than before, so that only its beginning tells
        self.write("another error that is longer than what was there\n", "w")
        self.assertEqual(self.lines(plugin), ["another error that is longer than what was there"])
        self.assertIn("begun anew", plugin.logs[-1])

    def test_position_outlives_a_restart(self):
        plugin = self.following()
        self.write("error 1\n")
        self.assertEqual(self.lines(plugin), ["error 1"])
        os.rename(self.path, self.path + ".1")
        self.write("error 2\n", path=self.path + ".1")
        self.write("error 3\n")
        self.assertEqual(self.lines(self.plugin(plugin.state)), ["error 2", "error 3"])

    def test_what_could_not_be_emitted_is_read_again(self):
        plugin = self.following()
        self.write("error 1\n")
        plugin.agent.refuse = "the spool is full"
        with self.assertRaises(stavily.AgentError):
            plugin.check()
        plugin.agent.refuse = None
        self.write("error 2\n")
        self.assertEqual(self.lines(plugin), ["error 1", "error 2"])

    def test_much_is_read_in_pieces_over_a_rotation(self):
        plugin = self.following(max_bytes=1 << 17)
        self.write("".join("error {:06d}\n".format(n) for n in range(30000)))
        os.rename(self.path, self.path + ".1")
        self.write("error last\n")
        counts = [event["data"]["count"] for _ in range(10) for event in plugin.check()]
        self.assertEqual(sum(counts), 30001)
        self.assertGreater(len(counts), 2)

    def test_line_without_an_end(self):
        plugin = self.following()
        self.write("x" * 200000 + "error")
        self.assertEqual(len(self.lines(plugin)), 1)

    def test_catastrophic_expression_does_not_hang_it(self):
        plugin = self.following(pattern="^(a+)+$")
        self.write("a\n" + ("a" * 40 + "!\n") * 50 + "aa\n")
        begin = time.monotonic()
        with self.assertRaisesRegex(stavily.Failed, "^8 lines took more than 0.25 seconds each and were given up: make `pattern`"):
            plugin.check()
        self.assertLess(time.monotonic() - begin, 5)
        self.assertEqual(plugin.events[0]["data"], {"path": self.path, "count": 1, "lines": ["a"], "given_up": 8})
        self.write("aaa\n")
        self.assertEqual(self.lines(plugin), ["aaa"])

    def test_bad_configuration_is_told(self):
        with self.assertRaisesRegex(stavily.Failed, r"^pattern is not a regular expression: '\[': "):
            self.plugin(pattern="[").check()
        with self.assertRaisesRegex(stavily.Failed, "^cannot read .*/none: No such file or directory: see that the agent's user may"):
            self.plugin(file="none").check()

    def test_as_a_process(self):
        with Session(main.__file__, config=self.config(pattern="^(a+)+$")) as plugin:
            plugin.detect()
            self.write("a" * 40 + "!\naaa\n")
            self.assertIn("1 lines took more than", plugin.request("detect_triggers")["error"])
            self.assertEqual([event["payload"]["lines"] for event in plugin.agent.events], [["aaa"]])


class Cost(unittest.TestCase):
    def test_a_line_costs_some_microseconds(self):
        content = b"an ordinary line of a log, with some words\n" * 20000
        begin = time.monotonic()
        with mock.patch.object(main, "LINES", 0):
            main.matching([content], main.compiled("pattern", "error"), None)
        self.assertLess((time.monotonic() - begin) / 20000, 100e-6)


if __name__ == "__main__":
    unittest.main()
