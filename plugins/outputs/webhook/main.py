"""Sends messages to a URL, as JSON."""

import http.client
import itertools
import json
import random
import ssl
import urllib.parse
from typing import NamedTuple, Optional

import stavily

# After these the same request may succeed later: timeout, too early, too many, and the receiver's own faults.
RETRYABLE = frozenset([408, 425, 429, 500, 502, 503, 504])
# Seconds before the first retry at most, doubled for each further one up to the longest.
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
# What an error repeats of the receiver's answer, in bytes.
EXCERPT = 300


class Attempt(NamedTuple):
    """How one POST ended."""

    status: Optional[int]  # None when there was no answer
    problem: str  # "" when the message was taken
    retryable: bool = False
    wait: float = 0.0  # seconds that the receiver asks for before the next one


@stavily.output
def webhook(message, ctx):
    """POST the message's content to config.url until it is taken or the retries are used up."""
    url = checked(ctx.config.url)
    body = json.dumps(payload(message)).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "stavily", "Idempotency-Key": ctx.idempotency_key}
    headers.update(ctx.config.headers)
    for number in itertools.count(1):
        attempt = post(url, headers, body, min(ctx.config.timeout, ctx.remaining))
        result = {"status_code": attempt.status, "attempts": number}
        if not attempt.problem:
            return result
        # Full jitter: receivers that come back are not met by all senders at once.
        wait = max(attempt.wait, random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2 ** (number - 1))))
        if not attempt.retryable or number > ctx.config.retries or wait >= ctx.remaining:
            raise stavily.Failed("{} (attempt {})".format(attempt.problem, number), result)
        ctx.log.warning("%s; again in %.1f seconds", attempt.problem, wait)
        ctx.sleep(wait)
        if ctx.cancelled:
            raise stavily.Cancelled("cancelled after: {}".format(attempt.problem), result)


def checked(url):
    """The parts of the URL; Refused unless it is one of http or https with a host and nothing secret before it."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise stavily.Refused("config.url must begin with https:// or http:// and name a host")
    if parts.username is not None:
        raise stavily.Refused("config.url must not hold a user name or password: use config.headers")
    return parts


def payload(message):
    """What is sent: an object as it is, a text as {"text": …}, which Slack and its kin show."""
    content = message.as_dict().get("content")
    if isinstance(content, dict):
        return content
    if isinstance(content, str):
        return {"text": content}
    raise stavily.Refused("the message's content must be an object or a text, is {!r}".format(content))


def post(url, headers, body, timeout):
    """Try once, with `timeout` seconds for each step.

    Redirects are not followed: the message would arrive as a GET without it, or at somebody else's.
    """
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname, url.port, timeout=timeout)
    try:
        target = urllib.parse.urlunsplit(("", "", url.path or "/", url.query, ""))
        connection.request("POST", target, body, headers)
        return judged(url, connection.getresponse())
    except ssl.SSLCertVerificationError as error:
        return Attempt(None, "the certificate of {} is not trusted: {}".format(url.hostname, error.verify_message))
    except (OSError, http.client.HTTPException) as error:
        problem = "no answer from {}: {}".format(url.hostname, error or type(error).__name__)
        return Attempt(None, problem, retryable=True)
    finally:
        connection.close()


def judged(url, response):
    """What an answer means. Problems name the host only, since the rest of the URL is often the secret."""
    status = response.status
    if 200 <= status < 300:
        return Attempt(status, "")
    if 300 <= status < 400:
        where = "{} redirects to {}: configure the URL that takes the message"
        return Attempt(status, where.format(url.hostname, response.getheader("Location")))
    excerpt = response.read(EXCERPT).decode("utf-8", "replace").strip()
    asked = response.getheader("Retry-After", "")
    problem = "{} answers {} {}: {}".format(url.hostname, status, response.reason, excerpt)
    return Attempt(status, problem.rstrip(": "), status in RETRYABLE, float(asked) if asked.isdecimal() else 0.0)


if __name__ == "__main__":
    stavily.run()
