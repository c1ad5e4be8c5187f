"""Configuration and parameters as dataclasses, and plugin.yaml from them."""

import json
import subprocess
import sys
import unittest
from dataclasses import dataclass
from dataclasses import field as plain_field
from typing import Any, Dict, List, Literal, Optional

import stavily
from stavily import _handler, testing
from stavily._contract import Host
from stavily._schema import build, schema

from . import SOURCE, plugin


@dataclass
class Door:
    path: str
    open: bool = False


@dataclass
class Config:
    path: str
    limit: float = stavily.field(85.0, description="Percent", minimum=0, maximum=100)
    count: Optional[int] = None
    mode: Literal["fast", "slow"] = "fast"
    token: str = stavily.field("", secret=True, max_length=5)
    mounts: List[str] = stavily.field(["/"], min_length=1)
    names: Dict[str, Any] = plain_field(default_factory=dict)
    door: Optional[Door] = None
    doors: List[Door] = plain_field(default_factory=list)
    other: Any = None
    made: str = plain_field(default="", init=False)


class Schema(unittest.TestCase):
    def test_it_is_what_a_manifest_says(self):
        self.assertEqual(
            schema(Config),
            {
                "path": {"type": "string", "required": True},
                "limit": {"type": "number", "description": "Percent", "minimum": 0, "maximum": 100, "default": 85.0},
                "count": {"type": "integer"},
                "mode": {"type": "string", "enum": ["fast", "slow"], "default": "fast"},
                "token": {"type": "string", "secret": True, "max_length": 5, "default": ""},
                "mounts": {"type": "array", "items": {"type": "string"}, "min_length": 1, "default": ["/"]},
                "names": {"type": "object", "default": {}},
                "door": {"type": "object"},
                "doors": {"type": "array", "items": {"type": "object"}, "default": []},
                "other": {"type": "any"},
            },
        )

    def test_a_type_that_json_has_not_is_refused(self):
        @dataclass
        class Wrong:
            when: bytes

        with self.assertRaisesRegex(TypeError, r"^Wrong.when is <class 'bytes'>: it can be str, int, "):
            schema(Wrong)
        with self.assertRaisesRegex(TypeError, "^field\\(\\) takes no 'minimun': it has description, secret, minimum, "):
            stavily.field(1, minimun=0)


class Build(unittest.TestCase):
    def test_values_become_an_instance(self):
        config = build(Config, {"path": "/x", "limit": 5, "doors": [{"path": "/d", "open": True}], "names": {"a": 1}}, "config")
        self.assertEqual(config, Config("/x", 5.0, doors=[Door("/d", True)], names={"a": 1}))
        self.assertIsInstance(config.limit, float)
        self.assertIsNot(build(Config, {"path": "/"}, "config").mounts, build(Config, {"path": "/"}, "config").mounts)

    def test_every_mistake_is_told_at_once(self):
        for values, told in (
            ({}, "config.path is missing, and Config has no default for it"),
            ({"path": 5}, "config.path: must be text, is 5"),
            ({"path": "", "limt": 5}, "config.limt is not a field of Config, which has path, limit, count, "),
            ({"path": "", "limit": "x"}, "config.limit: must be a number, is 'x'"),
            ({"path": "", "limit": True}, "config.limit: must be a number, is True"),
            ({"path": "", "limit": 101}, "config.limit: must be at most 100, is 101"),
            ({"path": "", "limit": -1}, "config.limit: must be at least 0, is -1"),
            ({"path": "", "count": 1.5}, "config.count: must be a whole number, is 1.5"),
            ({"path": "", "mode": "idle"}, r"config.mode: must be one of \['fast', 'slow'\], is 'idle'"),
            ({"path": "", "token": "hunter22"}, "config.token: must have a length of at most 5, is something else"),
            ({"path": "", "mounts": []}, r"config.mounts: must have a length of at least 1, is \[\]"),
            ({"path": "", "mounts": ["/", 7]}, r"config.mounts\[1\]: must be text, is 7"),
            ({"path": "", "door": {"open": True}}, "config.door.path is missing"),
            ({"path": "", "doors": [{"path": "", "opn": 1}]}, r"config.doors\[0\].opn is not a field of Door"),
            ({"path": "", "door": "x"}, "config.door: must be an object, is 'x'"),
            ({"path": 1, "limit": "x"}, "config.path: .*; config.limit: "),
        ):
            with self.subTest(values), self.assertRaisesRegex(stavily.Refused, "^" + told):
                build(Config, values, "config")

    def test_what_is_inside_a_secret_is_as_secret(self):
        @dataclass
        class Key:
            pin: int = 0

        @dataclass
        class Keys:
            flat: List[int] = stavily.field([], secret=True)
            deep: List[List[Literal["a"]]] = stavily.field([], secret=True)
            key: Optional[Key] = stavily.field(None, secret=True)
            keys: List[Key] = stavily.field([], secret=True)

        for values, where in (
            ({"flat": ["hunter2"]}, r"flat\[0\]"),
            ({"deep": [["a", "hunter2"]]}, r"deep\[0\]\[1\]"),
            ({"key": {"pin": "hunter2"}}, r"key\.pin"),
            ({"keys": [{"pin": "hunter2"}]}, r"keys\[0\]\.pin"),
        ):
            with self.subTest(values), self.assertRaisesRegex(stavily.Refused, r"^config\." + where + ": must be .*, is something else$"):
                build(Keys, values, "config")

    def test_patterns(self):
        @dataclass
        class Named:
            name: str = stavily.field(pattern="^[a-z]+$")

        self.assertEqual(build(Named, {"name": "a"}, "params").name, "a")
        with self.assertRaisesRegex(stavily.Refused, r"params.name: must match \^\[a-z\]\+\$, is 'A'"):
            build(Named, {"name": "A"}, "params")


class Handlers(unittest.TestCase):
    def test_configuration_and_parameters_are_instances(self):
        @stavily.action
        def act(params: Door, config: Config, ctx):
            return [params.path, config.limit, ctx.config.path]

        self.assertEqual(testing.run_action(act, {"path": "/d"}, config={"path": "/x"}), ["/d", 85.0, "/x"])
        with self.assertRaisesRegex(stavily.Refused, "params.path is missing"):
            testing.run_action(act, {}, config={"path": "/x"})

    def test_annotations_may_be_text(self):
        def act(params: "Door", config: "OnlyForTypeCheckers"):  # noqa: F821
            return [params.path, config["a"]]

        stavily.action(act)
        self.assertEqual(testing.run_action(act, {"path": "/d"}, config={"a": 1}), ["/d", 1])

    def test_a_configuration_that_does_not_fit_is_refused_before_anything_runs(self):
        @stavily.sensor(interval=1)
        def sense(config: Config):
            raise AssertionError("it ran")

        host = Host(_handler.of(sense), None)
        answer = json.loads(host.answer(b'{"action": "initialize", "config": {"limit": 5}}'))
        self.assertEqual((answer["success"], answer["error"]), (False, "config.path is missing, and Config has no default for it"))
        answer = json.loads(host.answer(b'{"action": "detect_triggers"}'))
        self.assertIn("initialize must come first", answer["error"])

    def test_the_agent_is_told_the_schema(self):
        @stavily.action
        def act(params: Door):
            pass

        answer = json.loads(Host(_handler.of(act), None).answer(b'{"action": "get_action_config"}'))
        self.assertEqual(answer["data"], {"parameters": schema(Door)})


class Manifest(unittest.TestCase):
    def manifest(self, *arguments):
        return subprocess.run(
            [sys.executable, "-m", "stavily.manifest", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PYTHONPATH": SOURCE, "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def test_sections_of_a_plugin(self):
        done = self.manifest(plugin("typed"))
        self.assertEqual(done.stderr, b"")
        self.assertEqual(
            done.stdout.decode(),
            'configuration:\n  roots: {"type": "array", "items": {"type": "string"}, "default": []}\n'
            'parameters:\n  path: {"type": "string", "description": "Größe", "required": true}\n',
        )

    def test_mistakes_are_told(self):
        self.assertIn(b"x.txt: is no Python file", self.manifest("x.txt").stderr)
        self.assertEqual(self.manifest().returncode, 2)
        done = self.manifest(plugin("output"))
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"no argument named config or params is a dataclass", done.stderr)


if __name__ == "__main__":
    unittest.main()
