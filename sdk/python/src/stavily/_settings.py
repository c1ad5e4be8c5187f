"""Configuration, parameters and messages as a plugin sees them."""

from typing import Any, Dict, Iterator, Mapping


class Settings(Mapping[str, Any]):
    """A read-only mapping whose keys are attributes as well: `config.path`.

    The agent has checked the values against the schema in plugin.yaml and put
    in its defaults, so a key that is required or has a default is there. For
    one that is neither, use `config.get("name")`. A key that is also a method
    of mappings (`items`, `keys`, `values`, `get`) is reached as `config["items"]`.
    """

    __slots__ = ("_name", "_values")

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        """Wrap a copy of `values`; `name` says in errors which settings these are."""
        self._name = name
        self._values = dict(values)

    def __getitem__(self, key: str) -> Any:
        value = self._values[key]
        return Settings("{}.{}".format(self._name, key), value) if isinstance(value, dict) else value

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):  # asked by copy and pickle, before there are values
            raise AttributeError(key)
        if key not in self._values:
            known = ", ".join(sorted(self._values)) or "nothing"
            raise AttributeError("{} has no {!r}: it has {}".format(self._name, key, known))
        return self[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        # Names only: a value may be a secret, and reprs end up in logs.
        return "<{}: {}>".format(self._name, ", ".join(sorted(self._values)))

    def as_dict(self) -> Dict[str, Any]:
        """A plain dict, for what wants one, such as `json.dumps`."""
        return dict(self._values)
