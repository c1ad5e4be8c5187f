import json
import os
import signal
import tempfile
import time
import unittest
from unittest import mock

import main
import stavily
from stavily.testing import Session, run_action


class CleanupFiles(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.host = os.path.realpath(directory.name)
        self.root = os.path.join(self.host, "root")
        os.mkdir(self.root)

    def write(self, name, size=100, age=0):
        path = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"x" * size)
        os.utime(path, (time.time() - age,) * 2)
        return path

    def left(self):
        return sorted(
            os.path.relpath(os.path.join(folder, name), self.root) for folder, _, names in os.walk(self.root) for name in names
        )

    def settings(self, **params):
        return {"path": self.root, "pattern": "*", "older_than_seconds": 0, "dry_run": False, "files_per_second": 0, **params}

    def clean(self, roots=None, max_entries=1000, cancelled=False, **params):
        config = {"roots": [self.root] if roots is None else roots, "max_entries": max_entries}
        return run_action(main.cleanup_files, self.settings(**params), config=config, cancelled=cancelled)

    def test_removes_the_oldest_until_the_target(self):
        for n in range(5):
            self.write("day{}/report{}".format(n % 2, n), age=100 - n)
        expected = {"freed_bytes": 300, "removed_files": 3, "kept_files": 2, "remaining_bytes": 200, "dry_run": False}
        self.assertEqual(self.clean(target_bytes=299), expected)
        self.assertEqual(self.left(), ["day0/report4", "day1/report3"])

    def test_again_is_harmless(self):
        self.write("a")
        self.clean(target_bytes=0)
        again = self.clean(target_bytes=0)
        self.assertEqual((again["removed_files"], again["remaining_bytes"]), (0, 0))

    def test_only_files_that_match_and_are_old_enough(self):
        self.write("old.log", age=100)
        self.write("new.log", age=10)
        self.write("old.txt", age=100)
        result = self.clean(pattern="*.log", older_than_seconds=50)
        self.assertEqual((result["removed_files"], result["kept_files"], result["remaining_bytes"]), (1, 2, 200))
        self.assertEqual(self.left(), ["new.log", "old.txt"])

    def test_target_counts_files_that_do_not_match(self):
        self.write("a.log", age=2)
        self.write("b.log", age=1)
        self.write("c.txt")
        self.clean(pattern="*.log", target_bytes=200)
        self.assertEqual(self.left(), ["b.log", "c.txt"])

    def test_dry_run_removes_nothing(self):
        self.write("a")
        result = self.clean(target_bytes=0, dry_run=True)
        self.assertEqual((result["removed_files"], result["remaining_bytes"], result["dry_run"]), (1, 0, True))
        self.assertEqual(self.left(), ["a"])

    def test_removing_everything_must_be_meant(self):
        self.write("a")
        with self.assertRaisesRegex(stavily.Refused, "this would remove every file: set target_bytes"):
            self.clean()
        self.assertEqual(self.left(), ["a"])

    def test_paths_outside_the_roots_are_refused(self):
        self.write("a")
        os.makedirs(os.path.join(self.host, "root-2"))
        os.symlink(self.host, os.path.join(self.root, "up"))
        for path in self.host, self.root + "-2", self.root + "/..", self.root + "/up/root-2", "root", "/":
            with self.subTest(path), self.assertRaises(stavily.Refused):
                self.clean(path=path, target_bytes=0)
        with self.assertRaisesRegex(stavily.Refused, "outside of what this host allows: nothing"):
            self.clean(roots=[], target_bytes=0)

    def test_path_may_be_a_link_to_the_inside(self):
        self.write("real/a")
        os.symlink(self.root, os.path.join(self.host, "link"))
        self.assertEqual(self.clean(path=os.path.join(self.host, "link", "real"), target_bytes=0)["removed_files"], 1)

    def test_links_and_special_files_stay(self):
        outside = os.path.join(self.host, "precious")
        os.mkdir(outside)
        open(os.path.join(outside, "file"), "w").close()
        os.symlink(outside, os.path.join(self.root, "folder"))
        os.symlink(os.path.join(outside, "file"), os.path.join(self.root, "file"))
        os.mkfifo(os.path.join(self.root, "pipe"))
        self.assertEqual(self.clean(target_bytes=0)["removed_files"], 0)
        self.assertEqual(os.listdir(outside), ["file"])
        self.assertEqual(sorted(os.listdir(self.root)), ["file", "folder", "pipe"])

    def test_directory_swapped_for_a_link_redirects_nothing(self):
        self.write("folder/file")
        outside = os.path.join(self.host, "precious")
        os.mkdir(outside)
        open(os.path.join(outside, "file"), "w").close()
        choose = main.candidates

        def swap_then_choose(files, params):
            os.rename(os.path.join(self.root, "folder"), os.path.join(self.host, "moved"))
            os.symlink(outside, os.path.join(self.root, "folder"))
            return choose(files, params)

        with mock.patch.object(main, "candidates", swap_then_choose):
            with self.assertRaisesRegex(stavily.Failed, "^1 files could not be removed, the first because: folder/file: "):
                self.clean(target_bytes=0)
        self.assertEqual(os.listdir(outside), ["file"])

    def test_files_that_change_stay_and_files_that_vanish_are_not_ours(self):
        changed, vanished = self.write("changed", age=50), self.write("vanished", age=50)
        choose = main.candidates

        def change_then_choose(files, params):
            with open(changed, "ab") as file:
                file.write(b"more")
            os.unlink(vanished)
            return choose(files, params)

        with mock.patch.object(main, "candidates", change_then_choose):
            result = self.clean(older_than_seconds=10)
        self.assertEqual((result["removed_files"], result["kept_files"], result["remaining_bytes"]), (0, 1, 100))
        self.assertEqual(self.left(), ["changed"])

    def test_failures_keep_the_figures(self):
        self.write("a", age=2)
        self.write("b", age=1)
        unlink = os.unlink

        def guarded(name, **place):
            if name == "a":  # as the kernel would for a file that belongs to somebody else
                raise PermissionError(1, "Operation not permitted", name)
            unlink(name, **place)

        with mock.patch("os.unlink", guarded), mock.patch("os.supports_dir_fd", {guarded}):
            with self.assertRaisesRegex(stavily.Failed, "^1 files .* because: a: Operation not permitted$") as failed:
                self.clean(target_bytes=0)
        self.assertEqual((failed.exception.result["removed_files"], failed.exception.result["kept_files"]), (1, 1))

    def test_survey_is_bounded(self):
        for n in range(3):
            self.write(str(n))
        with self.assertRaisesRegex(stavily.Failed, "more than 2 entries"):
            self.clean(target_bytes=0, max_entries=2)
        self.assertEqual(len(self.left()), 3)

    def test_missing_directory_is_told(self):
        with self.assertRaisesRegex(stavily.Failed, "absent is not a directory on this host"):
            self.clean(path=self.root + "/absent", target_bytes=0)

    def test_cancelled_before_it_began(self):
        self.write("a")
        with self.assertRaises(stavily.Cancelled):
            self.clean(target_bytes=0, cancelled=True)
        self.assertEqual(self.left(), ["a"])

    def test_cancelled_on_the_way_says_how_far_it_came(self):
        for n in range(50):
            self.write(str(n))
        config = {"roots": [self.root], "max_entries": 1000}
        with Session(main.__file__, config=config) as plugin:
            work = {"id": "i", "parameters": self.settings(target_bytes=0, files_per_second=2)}
            plugin.send(json.dumps({"action": "execute_action", "action_request": work}).encode())
            while len(self.left()) == 50:
                time.sleep(0.01)
            plugin.process.send_signal(signal.SIGTERM)
            record = plugin.receive()["data"]
        self.assertEqual(record["status"], "cancelled")
        self.assertEqual(record["data"]["kept_files"], len(self.left()))
        self.assertGreater(record["data"]["kept_files"], 0)
        self.assertEqual(plugin.agent.progress[0]["message"], "1 files removed, 100 bytes freed")


if __name__ == "__main__":
    unittest.main()
