"""Sends messages to syslog (RFC 5424), on this host or over TLS, TCP or UDP."""

import errno
import json
import os
import socket
import ssl
import time

import stavily

# RFC 5424, table 1 and 2.
FACILITIES = {"user": 1, "daemon": 3, "auth": 4, **{"local{}".format(n): 16 + n for n in range(8)}}
SEVERITIES = {"low": 5, "medium": 4, "high": 3, "critical": 2}  # notice, warning, error, critical
NO_DATAGRAMS = "the sandbox refuses {}: {}"


@stavily.output
def syslog(message, ctx):
    """Send the message to the first place that takes it; returns which."""
    config = ctx.config
    line = format_message(message.as_dict(), config)
    places = config.sockets if config.transport == "unix" else config.servers
    if not places:
        raise stavily.Refused("{} is not set, and transport {} needs it".format("sockets" if config.transport == "unix" else "servers", config.transport))
    problems = []
    for place in places:
        try:
            confirmed = SENDERS[config.transport](place, line, config)
            return {"destination": place, "bytes": len(line), "confirmed": confirmed}
        except ssl.SSLCertVerificationError as error:
            problems.append("{}: its certificate is not trusted: {}".format(place, error.verify_message))
        except OSError as error:
            problems.append("{}: {}".format(place, error.strerror or error))
    raise stavily.Failed("nobody takes the message: " + "; ".join(problems))


def format_message(message, config):
    """One line of RFC 5424, 6, in UTF-8, without line ends of its own."""
    content = message.get("content")
    severity, text = "low", content
    if isinstance(content, dict):
        severity = content.get("severity") or "low"
        text = content["text"] if set(content) - {"severity"} == {"text"} else json.dumps({**content, "severity": severity}, ensure_ascii=False)
    if not isinstance(text, str) or not text:
        raise stavily.Refused("the message's content must be a text or an object, is {!r}".format(content))
    if severity not in SEVERITIES:
        raise stavily.Refused("severity must be one of {}, is {!r}".format(", ".join(SEVERITIES), severity))
    priority = FACILITIES[config.facility] * 8 + SEVERITIES[severity]
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    host = config.get("hostname") or os.environ.get("STAVILY_AGENT_ID") or "-"
    identity = printable(message.get("type") or "-", 32)
    head = "<{}>1 {} {} {} {} {} - ".format(priority, now, printable(host, 255), config.app_name, os.getpid(), identity)
    return head.encode() + " ".join(text.splitlines()).encode("utf-8", "replace")


def printable(text, most):
    """A field of the header: printable ASCII without spaces."""
    return "".join(c if "!" <= c <= "~" else "_" for c in str(text))[:most] or "-"


def by_unix(path, line, config):
    """To a socket of this host, which takes datagrams or, of some daemons, a stream."""
    refused = False
    for kind, end in (socket.SOCK_DGRAM, b""), (socket.SOCK_STREAM, b"\n"):
        try:
            log = socket.socket(socket.AF_UNIX, kind)
        except PermissionError:
            refused = True
            continue
        with log:
            log.settimeout(config.timeout)
            try:
                log.connect(path)
                log.sendall(line + end)
                return True
            except OSError as error:
                if error.errno != errno.EPROTOTYPE:
                    raise
    if refused:
        raise stavily.Refused(NO_DATAGRAMS.format("datagrams at level confined", "it takes level full, or transport tls or tcp"))
    raise OSError(errno.EPROTOTYPE, "takes neither datagrams nor a stream")


def by_udp(server, line, config):
    """In a datagram (RFC 5426), which nobody confirms."""
    host, port = parse(server)
    try:
        log = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    except PermissionError as error:
        raise stavily.Refused(NO_DATAGRAMS.format("UDP at every level", "use transport tls or tcp, or a syslog of this host that forwards")) from error
    with log:
        log.sendto(line, (host, port))
        return False


def by_tcp(server, line, config):
    """In a stream with the length before it (RFC 6587, 3.4.1)."""
    with socket.create_connection(parse(server), config.timeout) as log:
        return deliver(log, line)


def by_tls(server, line, config):
    """The same, encrypted (RFC 5425)."""
    host, port = parse(server)
    context = ssl.create_default_context()
    for path in config.ca_files:
        context.load_verify_locations(path)
    with socket.create_connection((host, port), config.timeout) as connection:
        with context.wrap_socket(connection, server_hostname=host) as log:
            return deliver(log, line)


def deliver(log, line):
    """Send, and say whether the other side ended the connection in peace.

    Syslog confirms nothing, and a connection is made before anybody is known to
    be there: that it is ended, and not reset, when we have ended it tells that all was read.
    """
    log.sendall(str(len(line)).encode() + b" " + line)
    try:
        if isinstance(log, ssl.SSLSocket):
            log.unwrap()  # to close with the server's tickets unread would be a reset, which takes the message along
        else:
            log.shutdown(socket.SHUT_WR)
            log.recv(1)
        return True
    except socket.timeout:
        return False
    except ssl.SSLError:  # it hung up without the farewell that TLS asks for
        return True


def parse(server):
    """Host and port."""
    host, _, port = server.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise stavily.Refused("a server must be host:port, is {!r}".format(server))
    return host.strip("[]"), int(port)


SENDERS = {"unix": by_unix, "udp": by_udp, "tcp": by_tcp, "tls": by_tls}


if __name__ == "__main__":
    stavily.run()
