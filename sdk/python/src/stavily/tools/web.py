"""One HTTP exchange: a request and its answer, or a sentence why there is none."""

import http.client
import ssl
import time
import urllib.parse
from typing import Iterable, Mapping, NamedTuple, Optional, Tuple


class Answer(NamedTuple):
    """What a server answered; `body` are its first bytes, `cut` says that there were more."""

    status: int
    reason: str
    headers: http.client.HTTPMessage  # a mapping whose keys are in letters of either case
    body: bytes
    cut: bool
    certificate_ends: Optional[float]  # seconds since 1970, where the connection was encrypted


class NoAnswer(Exception):
    """There was none; `lasting` where asking again would not help."""

    def __init__(self, message: str, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


def checked(url: str, name: str) -> urllib.parse.SplitResult:
    """The parts of a URL; ValueError with a sentence about `name` unless it is of http or https and holds no password."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("{} must begin with https:// or http:// and name a host".format(name))
    if parts.username is not None:
        raise ValueError("{} must not hold a user name or password: use headers".format(name))
    try:
        parts.port
    except ValueError as error:
        raise ValueError("{} has no port from 1 to 65535".format(name)) from error
    return parts


def exchange(
    method: str,
    url: urllib.parse.SplitResult,
    *,
    headers: Mapping[str, str],
    timeout: float,
    body: Optional[bytes] = None,
    most: int = 0,
    most_of_errors: int = 0,
    ca_files: Iterable[str] = ()
) -> Answer:
    """Ask once, with `timeout` seconds for each step and for the body; NoAnswer names the host only.

    Of the answer's body `most` bytes are read, or `most_of_errors` where it is
    none of success: what was taken has been taken, whatever becomes of the rest.
    Redirects are not followed: the request would arrive as another one, or at
    somebody else's. Certificates are verified, by `ca_files` too.
    """
    end = time.monotonic() + timeout
    connection = connect(url, timeout, ca_files)
    try:
        connection.connect()
        ends = certificate_end(connection.sock) if isinstance(connection.sock, ssl.SSLSocket) else None
        target = urllib.parse.urlunsplit(("", "", url.path or "/", url.query, ""))
        connection.request(method, target, body, dict(headers))
        response = connection.getresponse()
        wanted = most if 200 <= response.status < 300 else max(most, most_of_errors)
        content, cut = read(response, wanted, end) if wanted else (b"", False)
        return Answer(response.status, response.reason, response.headers, content, cut, ends)
    except ssl.SSLCertVerificationError as error:
        told = "the certificate of {} is not trusted: {}"
        raise NoAnswer(told.format(url.hostname, error.verify_message), lasting=True) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswer("no answer from {}: {}".format(url.hostname, error or type(error).__name__)) from error
    finally:
        connection.close()


def connect(url: urllib.parse.SplitResult, timeout: float, ca_files: Iterable[str]) -> http.client.HTTPConnection:
    """A connection to the host of a URL, not yet made."""
    if url.scheme == "http":
        return http.client.HTTPConnection(str(url.hostname), url.port, timeout=timeout)
    context = ssl.create_default_context()
    for path in ca_files:
        try:
            context.load_verify_locations(path)
        except OSError as error:  # an ssl.SSLError is one, too
            told = "the certificates in {} cannot be read: {}"
            raise NoAnswer(told.format(path, error.strerror or error), lasting=True) from error
    return http.client.HTTPSConnection(str(url.hostname), url.port, timeout=timeout, context=context)


def certificate_end(connection: ssl.SSLSocket) -> Optional[float]:
    """When the certificate that the server showed ends, in seconds since 1970."""
    end = (connection.getpeercert() or {}).get("notAfter")
    return float(ssl.cert_time_to_seconds(end)) if isinstance(end, str) else None


def read(response: http.client.HTTPResponse, most: int, end: float) -> Tuple[bytes, bool]:
    """The first bytes of a body and whether there are more, until `end`."""
    content = b""
    while len(content) <= most:
        if time.monotonic() > end:
            raise TimeoutError("the body takes too long")
        chunk = response.read1(min(1 << 16, most + 1 - len(content)))
        if not chunk:
            break
        content += chunk
    return content[:most], len(content) > most
