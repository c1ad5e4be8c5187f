import hashlib
import os
import stat
import tempfile
import unittest
from unittest import mock

import main
import stavily
from stavily.testing import Session, run_action


class WriteFile(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.host = os.path.realpath(directory.name)
        self.root = os.path.join(self.host, "root")
        os.mkdir(self.root)
        self.path = os.path.join(self.root, "a.conf")

    def write(self, content="new\n", path=None, roots=None, **params):
        params = {"path": path or self.path, "content": content, "backup": True, **params}
        return run_action(main.write_file, params, config={"roots": [self.root] if roots is None else roots})

    def put(self, content, mode=0o640):
        with open(self.path, "w") as file:
            file.write(content)
        os.chmod(self.path, mode)

    def read(self, suffix=""):
        with open(self.path + suffix, encoding="utf-8") as file:
            return file.read()

    def digest(self, text):
        return hashlib.sha256(text.encode()).hexdigest()

    def mode(self, suffix=""):
        return stat.S_IMODE(os.stat(self.path + suffix).st_mode)

    def test_new_file(self):
        result = self.write("Grüße\n")
        expected = {"path": self.path, "bytes": 8, "sha256": self.digest("Grüße\n"), "before_sha256": None, "changed": True, "backup": None}
        self.assertEqual((result, self.read(), self.mode()), (expected, "Grüße\n", 0o644))

    def test_replaces_and_keeps_what_was_there(self):
        self.put("old\n")
        result = self.write()
        self.assertEqual((self.read(), self.read(".bak"), self.mode(), self.mode(".bak")), ("new\n", "old\n", 0o640, 0o640))
        self.assertEqual((result["before_sha256"], result["backup"]), (self.digest("old\n"), self.path + ".bak"))
        self.write("newer\n", backup=False, mode="0600")
        self.assertEqual((self.read(), self.read(".bak"), self.mode()), ("newer\n", "old\n", 0o600))
        self.assertEqual(sorted(os.listdir(self.root)), ["a.conf", "a.conf.bak"])

    def test_again_is_harmless(self):
        self.write()
        inode = os.stat(self.path).st_ino
        self.assertEqual((self.write()["changed"], os.stat(self.path).st_ino), (False, inode))
        self.assertTrue(self.write(mode="0600")["changed"])

    def test_expected_content(self):
        self.write(expected_sha256="none")
        with self.assertRaisesRegex(stavily.Refused, "a.conf has changed: its SHA-256 is .*, expected was none"):
            self.write("x", expected_sha256="none")
        self.write("x", expected_sha256=self.digest("new\n"))
        self.assertEqual(self.read(), "x")

    def test_paths_outside_the_roots_are_refused(self):
        os.mkdir(os.path.join(self.host, "root-2"))
        os.symlink(self.host, os.path.join(self.root, "up"))
        for path in self.host + "/x", self.root + "-2/x", self.root + "/../x", self.root + "/up/x", "x", self.root + "/", self.root + "/..":
            with self.subTest(path), self.assertRaises((stavily.Refused, stavily.Failed)):
                self.write(path=path)
        with self.assertRaisesRegex(stavily.Refused, "outside of what this host allows: nothing"):
            self.write(roots=[])
        self.assertEqual(sorted(os.listdir(self.host)), ["root", "root-2"])

    def test_links_and_other_things_are_left_alone(self):
        target = os.path.join(self.host, "precious")
        open(target, "w").close()
        os.symlink(target, self.path)
        with self.assertRaisesRegex(stavily.Failed, "cannot write .*: Too many levels of symbolic links"):
            self.write()
        os.unlink(self.path)
        os.mkfifo(self.path)
        with self.assertRaisesRegex(stavily.Refused, "a.conf is not a file"):
            self.write()
        self.assertEqual(os.path.getsize(target), 0)

    def test_failure_on_the_way_leaves_the_old_file_and_nothing_else(self):
        self.put("old\n")
        with mock.patch("os.rename", side_effect=OSError(28, "No space left on device")):
            with self.assertRaisesRegex(stavily.Failed, "cannot write .*: No space left on device"):
                self.write(backup=False)
        self.assertEqual((self.read(), os.listdir(self.root)), ("old\n", ["a.conf"]))

    def test_missing_directory_is_told(self):
        with self.assertRaisesRegex(stavily.Failed, "absent is not a directory on this host"):
            self.write(path=self.root + "/absent/x")

    def test_as_a_process(self):
        with Session(main.__file__, config={"roots": [self.root]}) as plugin:
            record = plugin.execute({"path": self.path, "content": "x", "backup": True})
        self.assertEqual((record["status"], self.read()), ("completed", "x"))


if __name__ == "__main__":
    unittest.main()
