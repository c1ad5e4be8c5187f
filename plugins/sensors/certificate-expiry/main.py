"""Tells in good time when certificates expire, in files and at servers."""

import base64
import re
import socket
import ssl
import time

import stavily
from certificate import ends, name

DAY = 86400
# The longest file that is read, in bytes: a bundle of all authorities has 300 KiB.
LONGEST = 4 << 20
PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
# What is told of a certificate, from fine to worst, with its severity.
LEVELS = {"ok": "low", "expiring": "medium", "critical": "high", "expired": "critical"}


@stavily.sensor(interval=3600)
def certificate_expiry(config, emit, state):
    """Emit certificate.expiring when less than config.days are left, again when it gets worse, and certificate.renewed."""
    if not config.files and not config.servers:
        raise stavily.Failed("nothing to look at: set files or servers")
    problems = []
    for places, load in (config.files, from_file), (config.servers, lambda place: from_server(place, config.timeout)):
        for place in places:
            try:
                first = min((ends(der), name(der)) for der in load(place))
            except (OSError, ValueError) as error:
                problems.append("{}: {}".format(place, getattr(error, "strerror", None) or error))
                continue
            judge(place, *first, config, emit, state)
    if problems:
        raise stavily.Failed("cannot be looked at: " + "; ".join(problems))


def judge(place, end, subject, config, emit, state):
    """Emit when a certificate has become worse, or has been renewed."""
    days = (end - time.time()) / DAY
    level = "ok"
    for limit, worse in (config.days, "expiring"), (config.critical_days, "critical"), (0, "expired"):
        level = worse if days < limit else level
    order = list(LEVELS)
    told = state.get(place, "ok")
    data = {
        "place": place,
        "subject": subject,
        "not_after": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end)),
        "days": round(days, 1),
        "level": level,
    }
    # The state follows the event: what could not be emitted is tried again at the next check.
    if order.index(level) > order.index(told):
        emit("certificate.expiring", data=data, severity=LEVELS[level], key=place)
        state[place] = level
    elif level == "ok" and told != "ok":
        emit("certificate.renewed", data=data, severity="low", key=place)
        state[place] = level
    elif level != told:  # renewed, but not for long
        state[place] = level


def from_file(path):
    """The certificates in a file, each as DER."""
    with open(path, "rb") as file:
        found = PEM.findall(file.read(LONGEST))
    if not found:
        raise ValueError("has no certificate in PEM: a file in DER is converted by `openssl x509 -inform der`")
    return [base64.b64decode(text) for text in found]


def from_server(address, timeout):
    """The certificate that a server shows, whether it is trusted or not: only its date is asked."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, int(port)), timeout) as connection:
        with context.wrap_socket(connection, server_hostname=host) as encrypted:
            der = encrypted.getpeercert(binary_form=True)
    if not der:
        raise ValueError("the server shows no certificate")
    return [der]


if __name__ == "__main__":
    stavily.run()
