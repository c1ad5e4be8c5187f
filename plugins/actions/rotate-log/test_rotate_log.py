import gzip
import os
import stat
import tempfile
import unittest
from unittest import mock

import main
import stavily
from stavily.testing import Session, run_action


class RotateLog(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = os.path.realpath(directory.name)
        self.path = os.path.join(self.root, "app.log")

    def params(self, **params):
        return {"path": self.path, "method": "copy", "min_bytes": 0, "keep": 3, "compress": True, **params}

    def rotate(self, roots=None, cancelled=False, **params):
        return run_action(main.rotate_log, self.params(**params), config={"roots": [self.root] if roots is None else roots}, cancelled=cancelled)

    def write(self, text, name="app.log"):
        with open(os.path.join(self.root, name), "a") as file:
            file.write(text)

    def read(self, name):
        path = os.path.join(self.root, name)
        with gzip.open(path, "rt") if name.endswith(".gz") else open(path) as file:
            return file.read()

    def test_copy_keeps_the_file_for_its_writer(self):
        with open(self.path, "a", buffering=1) as writer:
            writer.write("one\n")
            os.chmod(self.path, 0o640)
            inode = os.stat(self.path).st_ino
            result = self.rotate()
            self.assertEqual(result, {"rotated": True, "bytes": 4, "newest": "app.log.1.gz", "kept": ["app.log.1.gz"]})
            writer.write("two\n")
        self.assertEqual((self.read("app.log.1.gz"), self.read("app.log"), os.stat(self.path).st_ino), ("one\n", "two\n", inode))
        self.assertEqual(stat.S_IMODE(os.stat(self.path + ".1.gz").st_mode), 0o640)

    def test_rename(self):
        for compress, newest in (False, "app.log.1"), (True, "app.log.1.gz"):
            self.write("x\n")
            self.assertEqual(self.rotate(method="rename", compress=compress)["newest"], newest)
            self.assertFalse(os.path.exists(self.path))
            self.assertEqual(self.read(newest), "x\n")

    def test_numbers_grow_and_the_oldest_go(self):
        for n in range(5):
            self.write("{}\n".format(n))
            self.rotate(compress=n % 2 == 0)
        self.write("other", "app.log.backup")
        self.assertEqual(sorted(os.listdir(self.root)), ["app.log", "app.log.1.gz", "app.log.2", "app.log.3.gz", "app.log.backup"])
        self.assertEqual([self.read(name) for name in ("app.log.1.gz", "app.log.2", "app.log.3.gz")], ["4\n", "3\n", "2\n"])
        self.write("5\n")
        self.assertEqual(self.rotate(keep=1)["kept"], ["app.log.1.gz"])

    def test_small_and_empty_ones_stay(self):
        self.write("abc")
        self.assertEqual(self.rotate(min_bytes=4), {"rotated": False, "bytes": 3, "kept": []})
        self.assertTrue(self.rotate(min_bytes=3)["rotated"])
        self.assertFalse(self.rotate()["rotated"])

    def test_what_fails_on_the_way_leaves_the_log(self):
        for method in "copy", "rename":
            self.write("abc")
            before = self.read("app.log")
            with self.subTest(method):
                with mock.patch("os.fsync", side_effect=OSError(28, "No space left on device")):
                    with self.assertRaisesRegex(stavily.Failed, "cannot rotate .*/app.log: No space left on device"):
                        self.rotate(method=method)
                with self.assertRaisesRegex(stavily.Cancelled, "the log is as it was"):
                    self.rotate(method=method, cancelled=True)
                self.assertEqual((os.listdir(self.root), self.read("app.log")), (["app.log"], before))

    def test_paths_outside_the_roots_and_other_things_are_refused(self):
        with tempfile.TemporaryDirectory() as elsewhere:
            precious = os.path.join(elsewhere, "precious")
            open(precious, "w").close()
            os.symlink(elsewhere, os.path.join(self.root, "up"))
            os.symlink(precious, os.path.join(self.root, "link"))
            os.mkfifo(os.path.join(self.root, "pipe"))
            for path in precious, self.root + "/up/precious", self.root + "/link", self.root + "/pipe", self.root, self.root + "/..", self.root + "/":
                with self.subTest(path), self.assertRaises((stavily.Refused, stavily.Failed)):
                    self.rotate(path=path)
            self.assertEqual(os.listdir(elsewhere), ["precious"])
        with self.assertRaisesRegex(stavily.Refused, "outside of what this host allows: nothing"):
            self.rotate(roots=[])
        with self.assertRaisesRegex(stavily.Failed, "cannot rotate .*/none: No such file or directory"):
            self.rotate(path=self.root + "/none")

    def test_as_a_process(self):
        self.write("x" * 3000000)
        with Session(main.__file__, config={"roots": [self.root]}) as plugin:
            record = plugin.execute(self.params())
        self.assertEqual((record["status"], len(self.read("app.log.1.gz"))), ("completed", 3000000))


if __name__ == "__main__":
    unittest.main()
