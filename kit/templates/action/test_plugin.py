import unittest

import main
import stavily
from stavily.testing import run_action


class [[class]](unittest.TestCase):
    def execute(self, name="world", times=1, **options):
        return run_action(main.[[function]], {"name": name, "times": times}, config={"greeting": "Hello"}, **options)

    def test_greets_as_often_as_told(self):
        self.assertEqual(self.execute(times=2), {"greetings": ["Hello, world!", "Hello, world!"]})

    def test_nobody_cannot_be_greeted(self):
        with self.assertRaisesRegex(stavily.Refused, "must not be empty"):
            self.execute(name=" ")

    def test_stops_when_it_is_cancelled(self):
        with self.assertRaisesRegex(stavily.Cancelled, "after 0 greetings"):
            self.execute(cancelled=True)


if __name__ == "__main__":
    unittest.main()
