import os
import tempfile
import unittest

import main
import stavily
from stavily.testing import Session, run_sensor


class [[class]](unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.state = {}

    def add(self, *names):
        for name in names:
            open(os.path.join(self.directory, name), "w").close()

    def look(self):
        """What is emitted at one look, with a limit of one file."""
        return run_sensor(main.[[function]], {"directory": self.directory, "limit": 1}, state=self.state)

    def test_tells_once_when_there_are_too_many_and_once_when_it_is_over(self):
        self.add("a")
        self.assertEqual(self.look(), [])
        self.add("b")
        (event,) = self.look()
        self.assertEqual((event["type"], event["severity"], event["data"]["files"]), ("files.many", "high", 2))
        self.assertEqual(self.look(), [])
        os.remove(os.path.join(self.directory, "a"))
        self.assertEqual([event["type"] for event in self.look()], ["files.ok"])

    def test_directory_that_is_not_there(self):
        self.directory += "/absent"
        with self.assertRaisesRegex(stavily.Failed, "is not there"):
            self.look()

    def test_as_a_process(self):
        self.add("a", "b")
        with Session(main.__file__, config={"directory": self.directory, "limit": 1}) as plugin:
            self.assertEqual(len(plugin.detect()), 1)


if __name__ == "__main__":
    unittest.main()
