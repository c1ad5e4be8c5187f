"""The decorators, and what they make of a function: the process's one handler."""

from typing import Any, Callable, Dict, List, Optional, Type, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

# What a handler of each kind may take, by name.
ARGUMENTS = {
    "sensor": ("config", "emit", "state", "log"),
    "action": ("params", "ctx", "config", "state", "log"),
    "output": ("message", "ctx", "config", "state", "log"),
}

# Those of them that can be a dataclass.
_SHAPED = ("config", "params", "message")

# Handlers of this process, in the order of their definition. A plugin has one;
# a test that imports several plugins has as many.
_handlers: List["Handler"] = []


class Handler:
    """A plugin's function with its kind and, for a sensor, its interval in seconds; `push`: it waits by itself."""

    def __init__(
        self, kind: str, function: Callable[..., Any], interval: Optional[float] = None, push: bool = False
    ) -> None:
        self.kind = kind
        self.function = function
        self.interval = interval
        self.push = push
        self._wanted = _argument_names(function)
        self._hints: Dict[str, Any] = {
            name: hint for name, hint in function.__annotations__.items() if name in _SHAPED
        }
        for name in self._wanted:
            if name not in ARGUMENTS[kind]:
                raise TypeError(
                    "{}() takes {!r}, but an argument of {} can be: {}".format(
                        function.__name__, name, _article(kind), ", ".join(ARGUMENTS[kind])
                    )
                )

    def call(self, offered: Dict[str, Any]) -> Any:
        """Call the function with those of the offered arguments that it takes."""
        return self.function(**{name: self.shape(name, offered[name]) for name in self._wanted})

    def shape(self, name: str, value: Any) -> Any:
        """An argument in the form that the function wants; Refused when it cannot be brought into it."""
        cls = self.class_of(name)
        if cls is None:
            return value
        from ._schema import build

        return build(cls, value, name)

    def prepare(self, config: Any) -> None:
        """Do what every call needs, once: a process that others are forked from imports it for them."""
        self.shape("config", config)
        if any(self.class_of(name) for name in _SHAPED):
            from . import _schema  # noqa: F401

    def class_of(self, name: str) -> Optional[Type[Any]]:
        """The dataclass that the function wants an argument as; None where it is content with Settings."""
        hint = self._hints.get(name)
        if isinstance(hint, str):  # from __future__ import annotations
            try:
                hint = eval(hint, getattr(self.function, "__globals__", {}))
            except NameError:  # imported for type checkers only
                hint = None
            self._hints[name] = hint
        return hint if hasattr(hint, "__dataclass_fields__") else None


def _argument_names(function: Callable[..., Any]) -> List[str]:
    # Not inspect.signature: importing inspect costs 4 ms of every plugin's start.
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    code = function.__code__
    return list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])


def _article(kind: str) -> str:
    return "a sensor" if kind == "sensor" else "an " + kind


def sensor(*, interval: Optional[float] = None, push: bool = False) -> Callable[[F], F]:
    """Make a function a sensor: it is called every `interval` seconds (60) and emits events.

    The monitor that runs it may set another interval. The next call begins only
    after the one before has returned.

    With `push=True` it is called once and does not return: it waits, on a
    socket, on inotify, on a process, and emits when something happens. When the
    agent stops it, its wait ends by an exception that passes `except Exception`;
    clean up in `finally` or `with`. One that fails or returns is started again.
    """
    if push and interval is not None:
        raise ValueError("a sensor with push=True waits by itself: it has no interval")
    if interval is not None and not interval > 0:
        raise ValueError("interval must be more than 0 seconds, is {!r}".format(interval))

    def register(function: F) -> F:
        _handlers.append(Handler("sensor", function, None if push else float(interval or 60), push))
        return function

    return register


def action(function: F) -> F:
    """Make a function an action: it is called for each instruction, with its parameters."""
    _handlers.append(Handler("action", function))
    return function


def output(function: F) -> F:
    """Make a function an output: it is called with each message to deliver."""
    _handlers.append(Handler("output", function))
    return function


def sole() -> Handler:
    """The one handler of a plugin's process; RuntimeError when there is none or more."""
    if len(_handlers) != 1:
        names = ", ".join(handler.function.__name__ for handler in _handlers) or "none"
        raise RuntimeError(
            "a plugin is one function decorated with stavily.sensor, stavily.action or stavily.output; found " + names
        )
    return _handlers[0]


def of(function: Callable[..., Any]) -> Handler:
    """The handler that a decorator made of `function`."""
    for handler in _handlers:
        if handler.function is function:
            return handler
    raise ValueError("{!r} is not decorated with stavily.sensor, stavily.action or stavily.output".format(function))
