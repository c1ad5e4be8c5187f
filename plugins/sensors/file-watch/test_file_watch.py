import os
import shutil
import tempfile
import time
import unittest
from unittest import mock

import changes
import main
import stavily
from stavily.testing import Plugin, Session


class FileWatch(unittest.TestCase):
    """Each test is run with the kernel's word, and with looking again and again."""

    polling = False

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = os.path.realpath(directory.name)
        if self.polling:
            patch = mock.patch.object(main, "Inotify", side_effect=PermissionError(1, "no"))
            patch.start()
            self.addCleanup(patch.stop)

    def config(self, **settings):
        config = {"directories": [self.directory], "pattern": "*", "recursive": False, "max_directories": 10}
        return {**config, "settle_seconds": 0.05, "poll_seconds": 0.1, **settings}

    def write(self, name, text="x"):
        path = os.path.join(self.directory, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def after(self, change, events=1, **settings):
        """What is told of a change that is made when the sensor waits."""
        plugin = Plugin(main.file_watch, self.config(**settings))
        source = main.source

        def then(*arguments):
            found = source(*arguments)
            change()
            return found

        with mock.patch.object(main, "source", then):
            return [(event["type"], event["key"]) for event in plugin.watch(events)]

    def test_created_modified_deleted(self):
        path = os.path.join(self.directory, "a")
        self.assertEqual(self.after(lambda: self.write("a")), [("file.created", path)])
        self.assertEqual(self.after(lambda: self.write("a", "other")), [("file.modified", path)])
        self.assertEqual(self.after(lambda: os.unlink(path)), [("file.deleted", path)])

    def test_replacing_a_file_is_one_change(self):
        self.write("a")
        self.assertEqual(
            self.after(lambda: os.replace(self.write("a.new", "other"), os.path.join(self.directory, "a")), pattern="a"),
            [("file.modified", os.path.join(self.directory, "a"))],
        )

    def test_what_comes_and_goes_and_what_does_not_match_is_not_told(self):
        def change():
            os.unlink(self.write("a.conf"))
            self.write("b.tmp")
            self.write("c.conf")

        self.assertEqual(self.after(change, pattern="*.conf"), [("file.created", os.path.join(self.directory, "c.conf"))])

    def test_below(self):
        os.mkdir(os.path.join(self.directory, "old"))

        def change():
            self.write("old/a")
            os.makedirs(os.path.join(self.directory, "new", "deep"))
            self.write("new/deep/b")

        found = self.after(change, events=2, recursive=True)
        expected = [("file.created", os.path.join(self.directory, name)) for name in ("new/deep/b", "old/a")]
        self.assertEqual(sorted(found), expected)

    def test_bad_configuration_is_told(self):
        path = self.write("a")
        os.makedirs(os.path.join(self.directory, "b", "c"))
        for settings, told in (
            ({"directories": [self.directory + "/none"]}, "cannot watch .*/none: it is not there, or not granted"),
            ({"recursive": True, "max_directories": 2}, "more than 2 directories: raise max_directories"),
            ({} if self.polling else {"directories": [path]}, None if self.polling else "it is not a directory: name the one"),
        ):
            if told:
                with self.subTest(told), self.assertRaisesRegex(stavily.Failed, told):
                    Plugin(main.file_watch, self.config(**settings)).watch(timeout=2)

    def test_event_that_was_not_taken_is_tried_again(self):
        with mock.patch.object(main, "AGAIN", 0.05):
            plugin = Plugin(main.file_watch, self.config())
            plugin.agent.refuse = "the spool is full"
            source = main.source

            def then(*arguments):
                found = source(*arguments)
                self.write("a")
                return found

            with mock.patch.object(main, "source", then):
                with self.assertRaises(AssertionError):
                    plugin.watch(timeout=0.6)
                plugin.agent.refuse = None
                end = time.monotonic() + 5
                while not plugin.events and time.monotonic() < end:
                    time.sleep(0.02)
        self.assertEqual([event["type"] for event in plugin.events], ["file.created"])


class Looking(FileWatch):
    polling = True


class OnlyInotify(unittest.TestCase):
    def test_overflow_and_a_directory_that_goes_are_told(self):
        with tempfile.TemporaryDirectory() as directory:
            with changes.Inotify([directory], False, 10) as source:
                self.assertEqual(source._event(-1, changes.OVERFLOW, ""), [])
                self.assertEqual((source.lost(), source.lost()), (True, False))
                os.mkdir(os.path.join(directory, "x"))
            gone = os.path.join(directory, "x")
            with changes.Inotify([gone], False, 10) as source, self.assertRaisesRegex(stavily.Failed, "is gone: it is watched again"):
                shutil.rmtree(gone)
                source.wait(1)

    def test_as_a_process(self):
        with tempfile.TemporaryDirectory() as directory:
            config = {"directories": [directory], "pattern": "*", "recursive": False, "max_directories": 10, "settle_seconds": 0, "poll_seconds": 1}
            with Session(main.__file__, config=config) as plugin:
                path = os.path.join(directory, "a")
                end = time.monotonic() + 5
                while not plugin.agent.events and time.monotonic() < end:  # it says nothing when it has begun to wait
                    open(path, "a").close()
                    time.sleep(0.05)
                    os.utime(path) if os.path.exists(path) else None
                    with open(path, "a") as file:
                        file.write("x")
                self.assertEqual(plugin.wait_for_events()[0]["key"], path)
                self.assertEqual(plugin.terminate(), 0)


if __name__ == "__main__":
    unittest.main()
