"""What plugin.yaml says of a plugin's dataclasses, from the code.

    $ python3 -m stavily.manifest main.py
    configuration:
      path: {"type": "string", "required": true}
      limit: {"type": "number", "minimum": 0, "maximum": 100, "default": 85.0}

The lines are YAML, to paste into plugin.yaml. `stavily plugin test` compares the
two and names what differs.
"""

import importlib.util
import os
import sys
from typing import Any, Dict, List

from . import _handler


def sections(handler: _handler.Handler) -> Dict[str, Dict[str, Any]]:
    """`configuration` and `parameters`, those of the two for which the plugin has a dataclass."""
    from ._schema import schema

    named = {"config": "configuration", "params": "parameters"}
    return {
        section: schema(cls) for name, section in named.items() for cls in [handler.class_of(name)] if cls is not None
    }


def lines(handler: _handler.Handler) -> List[str]:
    """The sections as YAML."""
    import json

    out = []
    for section, properties in sections(handler).items():
        out.append(section + ":")
        out += ["  {}: {}".format(name, json.dumps(said, ensure_ascii=False)) for name, said in properties.items()]
    return out


def _load(path: str) -> None:
    """Import a plugin's main file, with its directory first on the path as when it runs."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec = importlib.util.spec_from_file_location("stavily_plugin", path)
    if spec is None or spec.loader is None:
        raise SystemExit("{}: is no Python file".format(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for what their annotations mean
    spec.loader.exec_module(module)


def main(arguments: List[str]) -> int:
    """The command; returns its exit code."""
    if len(arguments) != 1:
        print("usage: python3 -m stavily.manifest MAIN.PY", file=sys.stderr)
        return 2
    _load(arguments[0])
    found = lines(_handler.sole())
    if not found:
        print("{}: no argument named config or params is a dataclass".format(arguments[0]), file=sys.stderr)
        return 1
    print("\n".join(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
