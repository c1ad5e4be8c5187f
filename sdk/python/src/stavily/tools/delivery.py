"""Deliver a body over HTTP: again and again, until it is taken or the retries are used up."""

import random
import urllib.parse
from typing import Any, Dict, Iterable, Mapping, NamedTuple, Optional

from .._context import Context
from .._errors import Cancelled, Failed, Refused
from .web import Answer, NoAnswer, checked, exchange

# After these the same request may succeed later: timeout, too early, too many, and the receiver's own faults.
RETRYABLE = frozenset([408, 425, 429, 500, 502, 503, 504])
# Seconds before the first retry at most, doubled for each further one up to the longest.
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
# What an error repeats of the receiver's answer, in bytes.
EXCERPT = 300


class Attempt(NamedTuple):
    """How one request ended."""

    status: Optional[int]  # None when there was no answer
    problem: str  # "" when the message was taken
    retryable: bool = False
    wait: float = 0.0  # seconds that the receiver asks for before the next one


def deliver(
    method: str,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    ctx: Context,
    *,
    timeout: float,
    retries: int,
    ca_files: Iterable[str] = ()
) -> Dict[str, Any]:
    """Send `body` to config.url, with `timeout` seconds for each step; returns status_code and attempts."""
    try:
        parts = checked(url, "config.url")
    except ValueError as error:
        raise Refused(str(error)) from error
    headers = {"User-Agent": "stavily", "Idempotency-Key": ctx.idempotency_key, **headers}
    number = 0
    while True:
        number += 1
        attempt = once(method, parts, body, headers, max(0.001, min(timeout, ctx.remaining)), ca_files)
        result = {"status_code": attempt.status, "attempts": number}
        if not attempt.problem:
            return result
        # Full jitter: receivers that come back are not met by all senders at once.
        wait = max(attempt.wait, random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2 ** (number - 1))))
        if not attempt.retryable or number > retries or wait >= ctx.remaining:
            raise Failed("{} (attempt {})".format(attempt.problem, number), result)
        ctx.log.warning("%s; again in %.1f seconds", attempt.problem, wait)
        ctx.sleep(wait)
        if ctx.cancelled:
            raise Cancelled("cancelled after: {}".format(attempt.problem), result)


def once(
    method: str, parts: urllib.parse.SplitResult, body: bytes, headers: Mapping[str, str], timeout: float, ca_files: Iterable[str]
) -> Attempt:
    """Try once."""
    try:
        answer = exchange(method, parts, headers=headers, timeout=timeout, body=body, most_of_errors=EXCERPT, ca_files=ca_files)
    except NoAnswer as error:
        return Attempt(None, str(error), retryable=not error.lasting)
    return judged(parts.hostname, answer)


def judged(host: Optional[str], answer: Answer) -> Attempt:
    """What an answer means. Problems name the host only, since the rest of the URL is often the secret."""
    if 200 <= answer.status < 300:
        return Attempt(answer.status, "")
    if 300 <= answer.status < 400:
        where = "{} redirects to {}: configure the URL that takes the message"
        return Attempt(answer.status, where.format(host, answer.headers.get("Location")))
    excerpt = answer.body.decode("utf-8", "replace").strip()
    asked = answer.headers.get("Retry-After", "")
    problem = "{} answers {} {}: {}".format(host, answer.status, answer.reason, excerpt)
    return Attempt(answer.status, problem.rstrip(": "), answer.status in RETRYABLE, float(asked) if asked.isdecimal() else 0.0)
