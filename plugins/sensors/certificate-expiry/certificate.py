"""When an X.509 certificate ends, and whose it is.

Of DER (X.690) only what leads there is read: the standard library tells it of
certificates that are trusted, and expired ones are not.
"""

import calendar
import time

SEQUENCE, SET, OID, UTC_TIME, GENERALIZED_TIME, VERSION = 0x30, 0x31, 0x06, 0x17, 0x18, 0xA0
COMMON_NAME = b"\x55\x04\x03"  # 2.5.4.3


def ends(der):
    """The end of its validity, in seconds since 1970; ValueError when it is not a certificate."""
    kind, text = list(items(validity(der)))[1]
    digits = text.decode("ascii", "replace")
    if kind == UTC_TIME:  # RFC 5280, 4.1.2.5.1: years below 50 are of this century
        digits = ("20" if digits < "50" else "19") + digits
    elif kind != GENERALIZED_TIME:
        raise ValueError("has no end that can be read")
    try:
        return calendar.timegm(time.strptime(digits, "%Y%m%d%H%M%SZ"))
    except ValueError:
        raise ValueError("has no end that can be read: {!r}".format(digits)) from None


def name(der):
    """The common name of its subject, "" where it has none."""
    for kind, part in items(fields(der)[5][1]):
        for _, pair in items(part) if kind == SET else ():
            both = list(items(pair))
            if len(both) == 2 and both[0] == (OID, COMMON_NAME):
                return both[1][1].decode("utf-8", "replace")
    return ""


def validity(der):
    """The two times between which it is valid."""
    kind, times = fields(der)[4]
    if kind != SEQUENCE or len(list(items(times))) != 2:
        raise ValueError("is not a certificate")
    return times


def fields(der):
    """The first fields of TBSCertificate (RFC 5280, 4.1): version, serial, signature, issuer, validity, subject."""
    (outer, certificate), *rest = items(der) or [(0, b"")]
    first = next(items(certificate), (0, b""))
    found = list(items(first[1])) if outer == first[0] == SEQUENCE and not rest else []
    if found and found[0][0] != VERSION:
        found.insert(0, (VERSION, b""))  # version 1 leaves it out
    if len(found) < 6:
        raise ValueError("is not a certificate")
    return found


def items(data):
    """The (tag, content) pairs that follow one another in `data`; ValueError when it is cut or wrong."""
    at = 0
    while at < len(data):
        if at + 2 > len(data):
            raise ValueError("is cut short")
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            if not 0 < count <= 4 or at + count > len(data):
                raise ValueError("is not DER")
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + length > len(data):
            raise ValueError("is cut short")
        yield tag, data[at : at + length]
        at += length
