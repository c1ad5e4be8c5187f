import json
import os
import subprocess
import sys
import tempfile
import unittest

import main
import stavily
from stavily.testing import Session, run_output


class File(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.path = os.path.join(self.directory, "out")

    def config(self, **settings):
        return {"directory": self.directory, "name": "out", "max_bytes": 1024, "keep": 2, "sync": True, **settings}

    def send(self, content="hello", **settings):
        return run_output(main.file, {"id": "m-1", "type": "workflow", "content": content}, config=self.config(**settings))

    def lines(self, suffix=""):
        with open(self.path + suffix) as file:
            return [json.loads(line) for line in file]

    def test_appends_lines(self):
        result = self.send({"text": "Grüße\nzwei"})
        self.assertEqual(result, {"path": self.path, "bytes": os.path.getsize(self.path), "rotated": False})
        self.send("two")
        first, second = self.lines()
        self.assertRegex(first.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual(first, {"id": "m-1", "type": "workflow", "content": {"text": "Grüße\nzwei"}})
        self.assertEqual(second["content"], "two")
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o640)

    def test_rotates_by_size_and_keeps_some(self):
        rotated = [self.send("{}".format(n) * 300)["rotated"] for n in range(9)]
        self.assertEqual(rotated, [False, False, True, False, True, False, True, False, True])
        self.assertEqual(sorted(os.listdir(self.directory)), ["out", "out.1", "out.2"])
        self.assertEqual([line["content"][0] for suffix in (".2", ".1", "") for line in self.lines(suffix)], list("45678"))

    def test_none_kept(self):
        for _ in range(4):
            self.send("x" * 400, keep=0)
        self.assertEqual((os.listdir(self.directory), len(self.lines())), (["out"], 2))

    def test_what_a_crash_cut_is_ended(self):
        with open(self.path, "w") as file:
            file.write('{"id": "cut')
        self.send("after")
        with open(self.path) as file:
            cut, whole = file.read().splitlines()
        self.assertEqual((cut, json.loads(whole)["content"]), ('{"id": "cut', "after"))

    def test_runs_at_the_same_time_lose_nothing(self):
        program = (
            "import main; from stavily.testing import run_output\n"
            "for n in range(40): run_output(main.file, {'content': 'x' * 100}, config=%r)" % self.config(max_bytes=3000, keep=100)
        )
        here = os.path.dirname(os.path.abspath(main.__file__))
        writers = [subprocess.Popen([sys.executable, "-c", program], cwd=here) for _ in range(3)]
        self.assertEqual([writer.wait() for writer in writers], [0, 0, 0])
        self.assertEqual(sum(len(self.lines(name[3:])) for name in os.listdir(self.directory)), 120)

    def test_link_and_pipe_are_not_written(self):
        target = os.path.join(self.directory, "precious")
        open(target, "w").close()
        os.symlink(target, self.path)
        with self.assertRaisesRegex(stavily.Failed, "cannot write .*/out: "):
            self.send()
        self.assertEqual(os.path.getsize(target), 0)
        os.unlink(self.path)
        os.mkfifo(self.path)
        with self.assertRaisesRegex(stavily.Refused, "out is not a file"):
            self.send()

    def test_bad_input_is_told(self):
        with self.assertRaisesRegex(stavily.Failed, "cannot write /no/such/out: No such file or directory: see that the directory is there"):
            self.send(directory="/no/such")
        with self.assertRaisesRegex(stavily.Refused, "^the message has no content$"):
            self.send(None)
        with self.assertRaisesRegex(stavily.Refused, "a file has at most 1024: raise max_bytes"):
            self.send("x" * 2000)

    def test_as_a_process(self):
        with Session(main.__file__, config=self.config()) as plugin:
            self.assertEqual(plugin.deliver({"content": "hello"})["status"], "completed")
        self.assertEqual(self.lines()[0]["id"], "test-message")


if __name__ == "__main__":
    unittest.main()
