import os
import tempfile
import time
import unittest
from unittest import mock

import main
import stavily
from stavily.testing import Session, run_sensor


class DirectorySize(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "watched")
        os.mkdir(self.path)
        self.state = {}

    def write(self, name, size=100, age=0):
        path = os.path.join(self.path, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"x" * size)
        os.utime(path, (time.time() - age,) * 2)

    def config(self, **settings):
        return {"path": self.path, "recover_percent": 90, "max_entries": 1000, **settings}

    def check(self, **settings):
        events = run_sensor(main.directory_size, self.config(**settings), state=self.state)
        return [(event["type"], event["data"]["exceeded"]) for event in events]

    def test_tells_once_when_it_crosses_and_once_when_it_recovers(self):
        self.write("a", 1000)
        self.assertEqual(self.check(max_bytes=1000), [])
        self.write("b", 1)
        self.assertEqual(self.check(max_bytes=1000), [("directory.size.high", ["bytes"])])
        self.assertEqual(self.check(max_bytes=1000), [])
        self.write("a", 900)
        self.assertEqual(self.check(max_bytes=1000), [], "901 bytes are above 90 percent")
        os.unlink(os.path.join(self.path, "b"))
        self.assertEqual(self.check(max_bytes=1000), [("directory.size.ok", [])])
        self.assertEqual(self.check(max_bytes=1000), [])

    def test_event_says_what_was_measured(self):
        self.write("a", 10)
        self.write("below/b", 20, age=50)
        (event,) = run_sensor(main.directory_size, self.config(max_files=1, max_age_seconds=10, max_bytes=99))
        self.assertEqual((event["severity"], event["key"]), ("high", self.path))
        age = event["data"].pop("oldest_age_seconds")
        self.assertTrue(50 <= age < 60, age)
        self.assertEqual(
            event["data"],
            {
                "path": self.path,
                "bytes": 30,
                "files": 2,
                "limits": {"bytes": 99, "files": 1, "oldest_age_seconds": 10},
                "exceeded": ["files", "oldest_age_seconds"],
                "unreadable": 0,
            },
        )

    def test_recovers_only_when_every_limit_is_kept(self):
        self.write("old", 1, age=100)
        self.write("large", 100)
        self.assertEqual(len(self.check(max_bytes=50, max_age_seconds=50)), 1)
        os.unlink(os.path.join(self.path, "large"))
        self.assertEqual(self.check(max_bytes=50, max_age_seconds=50), [])
        os.unlink(os.path.join(self.path, "old"))
        self.assertEqual(self.check(max_bytes=50, max_age_seconds=50), [("directory.size.ok", [])])

    def test_empty_directory_has_no_age(self):
        self.assertEqual(
            main.measure(self.path, 10), {"bytes": 0, "files": 0, "oldest_age_seconds": 0, "unreadable": 0}
        )

    def test_symbolic_links_are_neither_followed_nor_counted(self):
        self.write("a", 10)
        os.symlink(self.path, os.path.join(self.path, "loop"))
        os.symlink(os.path.join(self.path, "a"), os.path.join(self.path, "b"))
        self.assertEqual(main.measure(self.path, 10)["bytes"], 10)
        link = self.path + "-link"
        os.symlink(self.path, link)
        with self.assertRaisesRegex(stavily.Failed, "is not a directory on this host"):
            main.measure(link, 10)

    def test_files_and_directories_that_vanish_are_passed_over(self):
        self.write("a", 10)
        self.write("below/b", 20)
        entries = main.walk(self.path, 10, self.fail)
        first = next(entries)
        os.unlink(os.path.join(self.path, "a"))
        os.unlink(os.path.join(self.path, "below", "b"))
        os.rmdir(os.path.join(self.path, "below"))
        self.assertEqual([first.name] + [entry.name for entry in entries], ["a"])

    def test_unreadable_directories_are_counted_and_told(self):
        self.write("a", 10)
        self.write("closed/b", 20)
        scandir = os.scandir

        def guarded(path):
            if path.endswith("closed"):  # as the kernel would, but for root as well
                raise PermissionError(13, "Permission denied", path)
            return scandir(path)

        with mock.patch("os.scandir", guarded), self.assertLogs("plugin", "WARNING") as logs:
            (event,) = run_sensor(main.directory_size, self.config(max_bytes=5))
        self.assertEqual((event["data"]["bytes"], event["data"]["unreadable"]), (10, 1))
        self.assertIn("1 directories below", logs.output[0])

    def test_walk_is_bounded(self):
        for n in range(5):
            self.write(str(n))
        self.assertEqual(main.measure(self.path, 5)["files"], 5)
        with self.assertRaisesRegex(stavily.Failed, "has more than 4 entries: raise max_entries"):
            main.measure(self.path, 4)

    def test_mistakes_in_the_configuration_are_told(self):
        with self.assertRaisesRegex(stavily.Failed, "set at least one of max_bytes, max_files, max_age_seconds"):
            self.check()
        with self.assertRaisesRegex(stavily.Failed, "is not a directory"):
            run_sensor(main.directory_size, self.config(path=self.path + "/absent", max_files=1))

    def test_event_that_is_not_accepted_is_told_again(self):
        self.write("a")
        with Session(main.__file__, config=self.config(max_files=0)) as plugin:
            plugin.agent.refuse = "the spool is full"
            self.assertIn("the spool is full", plugin.request("detect_triggers")["error"])
            plugin.agent.refuse = None
            self.assertEqual([event["trigger_name"] for event in plugin.detect()], ["directory.size.high"])
            self.assertEqual(plugin.detect(), [])


if __name__ == "__main__":
    unittest.main()
