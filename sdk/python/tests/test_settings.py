"""Settings: attributes, read-only, no values in reprs."""

import copy
import unittest

from stavily import Settings


class SettingsTest(unittest.TestCase):
    def setUp(self):
        self.settings = Settings("config", {"path": "/srv", "items": [1], "tls": {"ca": "x"}})

    def test_keys_are_attributes(self):
        self.assertEqual(self.settings.path, "/srv")
        self.assertEqual(self.settings.tls.ca, "x")
        self.assertEqual(self.settings["items"], [1])
        self.assertIsNone(self.settings.get("absent"))
        self.assertEqual(dict(self.settings)["path"], "/srv")
        self.assertEqual(len(self.settings), 3)

    def test_missing_key_says_what_there_is(self):
        with self.assertRaisesRegex(AttributeError, "^config has no 'pth': it has items, path, tls$"):
            self.settings.pth
        with self.assertRaisesRegex(AttributeError, "^config.tls has no 'key': it has ca$"):
            self.settings.tls.key

    def test_read_only(self):
        with self.assertRaises(AttributeError):
            self.settings.path = "/etc"
        with self.assertRaises(TypeError):
            self.settings["path"] = "/etc"
        self.settings.as_dict()["path"] = "/etc"
        self.assertEqual(self.settings.path, "/srv")

    def test_repr_hides_values(self):
        self.assertEqual(repr(self.settings), "<config: items, path, tls>")

    def test_can_be_copied(self):
        self.assertEqual(copy.deepcopy(self.settings), self.settings)


if __name__ == "__main__":
    unittest.main()
