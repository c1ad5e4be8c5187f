import unittest

import main
import stavily
from stavily.testing import run_output


class [[class]](unittest.TestCase):
    def deliver(self, text):
        return run_output(main.[[function]], {"content": {"text": text}}, config={"prefix": "> "})

    def test_message_becomes_one_line(self):
        self.assertEqual(self.deliver("disk\nfull"), {"delivered": "> disk full"})

    def test_empty_message_is_refused(self):
        with self.assertRaisesRegex(stavily.Refused, "no text"):
            self.deliver("  ")


if __name__ == "__main__":
    unittest.main()
