"""A client of D-Bus: method calls over the socket of a bus, and nothing else.

The D-Bus Specification 0.41 is the reference; sections are named where the code
follows them. Messages of this client hold texts and lists of texts, answers may
hold every type but descriptors.
"""

import socket
import struct
import time
from typing import Any, Dict, List, Sequence, Tuple

# The longest message of the specification is 128 MiB. What units answer has some hundred bytes each.
LONGEST = 4 << 20
CALL, RETURN, ERROR = 1, 2, 3
# Codes of header fields ("Header Fields").
PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SIGNATURE = 1, 2, 3, 4, 5, 6, 8
# Formats of the basic types of fixed size; each is aligned to its size.
FIXED = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d"}
ALIGNMENT = {"s": 4, "o": 4, "a": 4, "g": 1, "v": 1, "(": 8, "{": 8}


class BusError(Exception):
    """The bus, or who was called, did not do it; `name` is the error's name, or "" where there was no answer."""

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class Bus:
    """A connection to a bus, used in a `with` block; each call takes at most `timeout` seconds."""

    def __init__(self, path: str, timeout: float) -> None:
        self._timeout = timeout
        self._end = time.monotonic() + timeout
        self._serial = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(path)
            self._authenticate()
            self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")
        except OSError as error:
            self._socket.close()
            raise BusError("cannot reach the bus at {}: {}".format(path, error.strerror or error)) from error
        except BusError:
            self._socket.close()
            raise

    def __enter__(self) -> "Bus":
        return self

    def __exit__(self, *_: Any) -> None:
        self._socket.close()

    def _authenticate(self) -> None:
        """Say who we are by the socket's own word ("Authentication Protocol"), which also holds in a user namespace."""
        self._socket.sendall(b"\0AUTH EXTERNAL\r\n")
        if self._line() == b"DATA":
            self._socket.sendall(b"DATA\r\n")
            if self._line().startswith(b"OK"):
                self._socket.sendall(b"BEGIN\r\n")
                return
        raise BusError("the bus does not accept this user")

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\r\n") and len(line) < 1000:
            byte = self._socket.recv(1)
            if not byte:
                raise BusError("the bus closed the connection: it does not accept this user")
            line += byte
        return line.split()[0] if line.split() else b""

    def call(self, destination: str, path: str, interface: str, member: str, *arguments: Any) -> List[Any]:
        """Call a method with texts and lists of texts; returns the values of the answer as a list."""
        self._end = time.monotonic() + self._timeout
        self._serial += 1
        types = "".join("as" if isinstance(argument, list) else "s" for argument in arguments)
        fields = [(PATH, "o", path), (INTERFACE, "s", interface), (MEMBER, "s", member), (DESTINATION, "s", destination)]
        try:
            self._socket.sendall(message(self._serial, fields, types, arguments))
            while True:
                kind, header, body = self._receive()
                if header.get(REPLY_SERIAL) == self._serial and kind in (RETURN, ERROR):
                    break
        except OSError as error:
            raise BusError("no answer to {}: {}".format(member, error)) from error
        if kind == ERROR:
            told = body[0] if body and isinstance(body[0], str) else header.get(ERROR_NAME, "no reason given")
            raise BusError(told, header.get(ERROR_NAME, ""))
        return body

    def _receive(self) -> Tuple[int, Dict[int, Any], List[Any]]:
        """The next message: its kind, its header fields by code, and the values of its body."""
        start = self._exactly(16)
        order = {ord("l"): "<", ord("B"): ">"}.get(start[0])
        if order is None or start[3] != 1:
            raise BusError("what answers is not a bus")
        body, _, fields = struct.unpack(order + "III", start[4:])
        padded = (fields + 7) // 8 * 8
        if body > LONGEST or fields > LONGEST:
            raise BusError("the answer has {} bytes: {} are read".format(body + fields, LONGEST))
        rest = self._exactly(padded + body)
        try:
            (pairs,) = Reader(start + rest[:fields], order, at=12).read("a(yv)")
            header = dict(pairs)
            return start[1], header, Reader(rest[padded:], order).read(header.get(SIGNATURE, ""))
        except (struct.error, IndexError, ValueError, KeyError, RecursionError) as error:
            raise BusError("the answer cannot be read: {}".format(error)) from error

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            self._socket.settimeout(max(0.001, self._end - time.monotonic()))
            chunk = self._socket.recv(count - len(data))
            if not chunk:
                raise BusError("the bus closed the connection")
            data += chunk
        return data


class Reader:
    """Values of a message, by their signature ("Marshaling")."""

    def __init__(self, data: bytes, order: str, at: int = 0) -> None:
        self._data, self._order, self._at = data, order, at

    def read(self, signature: str) -> List[Any]:
        """The values of a signature, one for each complete type."""
        values = []
        while signature:
            first, signature = split(signature)
            values.append(self._value(first))
        return values

    def _value(self, kind: str) -> Any:
        code = kind[0]
        self._align(struct.calcsize("=" + FIXED[code]) if code in FIXED else ALIGNMENT[code])
        if code in FIXED:
            return self._fixed(FIXED[code])
        if code in "so":
            return self._text(self._fixed("I"))
        if code == "g":
            return self._text(self._fixed("B"))
        if code == "v":
            return self.read(self._value("g"))[0]
        if code == "a":
            return self._array(kind[1:])
        return tuple(self.read(kind[1:-1]))

    def _array(self, kind: str) -> List[Any]:
        length = self._fixed("I")
        self._align(struct.calcsize("=" + FIXED[kind[0]]) if kind[0] in FIXED else ALIGNMENT[kind[0]])
        end, values = self._at + length, []
        while self._at < end:
            values.append(self._value(kind))
        return values

    def _align(self, size: int) -> None:
        self._at = (self._at + size - 1) // size * size

    def _fixed(self, code: str) -> Any:
        (value,) = struct.unpack_from(self._order + code, self._data, self._at)
        self._at += struct.calcsize("=" + code)
        return value

    def _text(self, length: int) -> str:
        text = self._data[self._at : self._at + length]
        self._at += length + 1  # and a NUL
        return text.decode("utf-8", "replace")


def split(signature: str) -> Tuple[str, str]:
    """The first complete type of a signature, and the rest."""
    if signature[0] == "a":
        first, rest = split(signature[1:])
        return "a" + first, rest
    if signature[0] not in "({":
        return signature[0], signature[1:]
    depth = 0
    for at, code in enumerate(signature):
        depth += (code in "({") - (code in ")}")
        if depth == 0:
            return signature[: at + 1], signature[at + 1 :]
    raise ValueError("signature {!r} is not closed".format(signature))


def message(serial: int, fields: Sequence[Tuple[int, str, str]], types: str, arguments: Sequence[Any]) -> bytes:
    """A method call, little-endian ("Message Format")."""
    body = bytearray()
    for argument in arguments:
        pad(body, 4)
        if isinstance(argument, list):
            texts = bytearray()
            for text in argument:
                pad(texts, 4)
                texts += packed(text)
            body += struct.pack("<I", len(texts)) + texts
        else:
            body += packed(argument)
    if types:
        fields = [*fields, (SIGNATURE, "g", types)]
    header = bytearray()
    for code, kind, value in fields:
        pad(header, 8)
        header += bytes([code, 1]) + kind.encode() + b"\0"  # the value is a variant: its signature comes first
        if kind == "g":
            header += bytes([len(value)]) + value.encode() + b"\0"
        else:
            pad(header, 4)
            header += packed(value)
    start = struct.pack("<cBBBIII", b"l", CALL, 0, 1, len(body), serial, len(header))
    pad(header, 8)
    return start + bytes(header) + bytes(body)


def packed(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<I", len(data)) + data + b"\0"


def pad(data: bytearray, size: int) -> None:
    data += bytes(-len(data) % size)
