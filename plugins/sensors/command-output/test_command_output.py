import os
import sys
import tempfile
import time
import unittest

import main
import stavily
from stavily.testing import Plugin, Session


class CommandOutput(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "source.py")

    def says(self, text="", code=0, more=""):
        with open(self.path, "w") as file:
            file.write("import sys, time\nprint({!r}, end='')\n{}\nsys.exit({})\n".format(text, more, code))

    def plugin(self, **settings):
        config = {"command": [sys.executable, self.path], "ok_exit_codes": [0], "on_change": False, "checks": 1, "timeout": 20, **settings}
        return Plugin(main.command_output, config)

    def types(self, plugin):
        return [event["type"] for event in plugin.check()]

    def problem(self, **settings):
        (event,) = self.plugin(**settings).check()
        self.assertEqual((event["type"], event["severity"], event["key"]), ("command.failed", "high", sys.executable))
        return event["data"]["problem"]

    def test_tells_when_it_fails_and_when_it_works_again(self):
        plugin = self.plugin()
        self.says("fine")
        self.assertEqual(self.types(plugin), [])
        self.says("half", 3, "print('no such thing', file=sys.stderr)")
        (event,) = plugin.check()
        data = {"exit_code": 3, "output": "half", "stderr": "no such thing\n", "problem": "exit code 3: no such thing"}
        self.assertEqual(event["data"], {"command": [sys.executable, self.path], **data})
        self.assertEqual(self.types(plugin), [])
        self.says("fine")
        self.assertEqual(self.types(plugin), ["command.ok"])

    def test_several_checks_in_a_row(self):
        self.says(code=1)
        plugin = self.plugin(checks=3)
        self.assertEqual([len(plugin.check()) for _ in range(4)], [0, 0, 1, 0])

    def test_pattern_and_exit_codes(self):
        self.says("OK: all\n", 2)
        self.assertEqual(self.types(self.plugin(ok_exit_codes=[2], pattern="^OK")), [])
        self.assertEqual(self.problem(ok_exit_codes=[2], pattern="^BAD"), "the output does not have '^BAD'")

    def test_numbers(self):
        plugin = self.plugin(value="n=([0-9.]+)", above=10, below=2)
        for text, expected in ("n=5", []), ("n=10.5", ["command.value.high"]), ("n=1", ["command.value.low"]), ("n=2", ["command.value.ok"]):
            self.says(text)
            self.assertEqual(self.types(plugin), expected, text)
        self.says("none")
        for value in "n=([0-9]+)", "no(ne)", "none", "none(x)?":
            with self.subTest(value):
                self.assertRegex(self.problem(value=value), "^the output has no number where .* looks for it$")

    def test_changes(self):
        plugin = self.plugin(on_change=True)
        for text, expected in ("a", []), ("a", []), ("b", ["command.changed"]), ("b", []):
            self.says(text)
            self.assertEqual(self.types(plugin), expected)

    def test_time_is_bounded(self):
        self.says(more="time.sleep(60)")
        begin = time.monotonic()
        self.assertRegex(self.problem(timeout=0.3), r"^stopped after \d\.\d seconds$")
        self.says("a" * 40 + "!")
        self.assertRegex(self.problem(pattern="^(a+)+$"), "^searching the output took more than 1.0 seconds: make pattern")
        self.assertLess(time.monotonic() - begin, 10)

    def test_bad_configuration_is_told(self):
        for settings, told in (
            ({"command": ["ls"]}, "by its absolute path, is 'ls'"),
            ({"command": ["/no/such"]}, "cannot run /no/such: .*No such file"),
            ({"value": "("}, r"value is not a regular expression: '\('"),
        ):
            with self.subTest(told), self.assertRaisesRegex(stavily.Failed, told):
                self.plugin(**settings).check()

    def test_program_ends_with_the_plugin(self):
        mark = self.path + ".pid"
        self.says(more="import os; open({!r}, 'w').write(str(os.getpid())); time.sleep(60)".format(mark))
        config = {"command": [sys.executable, self.path], "ok_exit_codes": [0], "on_change": False, "checks": 1, "timeout": 60}
        with Session(main.__file__, config=config) as plugin:
            plugin.send(b'{"action": "detect_triggers"}')
            end = time.monotonic() + 10
            while not (os.path.exists(mark) and os.path.getsize(mark)) and time.monotonic() < end:
                time.sleep(0.02)
            with open(mark) as file:
                pid = int(file.read())
            self.assertEqual(plugin.terminate(), 0)
            with self.assertRaises(ProcessLookupError):
                os.kill(pid, 0)


if __name__ == "__main__":
    unittest.main()
