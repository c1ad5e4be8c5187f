"""Asks a URL and tells when it does not answer as it should, is slow, or its certificate is about to expire."""

import time
import urllib.parse

import stavily
from stavily.tools.bounded import Limit, TooSlow, compiled
from stavily.tools.web import NoAnswer, checked, exchange

# What of an answer is searched, in bytes, and for how many seconds at most.
MOST, MATCHING = 1 << 20, 2.0
DAY = 86400


@stavily.sensor(interval=60)
def http_check(config, emit, state):
    """Emit http.down, http.slow and certificate.expiring after config.checks wrong answers, and the opposites when it is over."""
    try:
        url = checked(config.url, "url")
    except ValueError as error:
        raise stavily.Failed(str(error)) from error
    pattern = compiled("body", config.get("body")) if config.get("body") else None
    key = urllib.parse.urlunsplit(url._replace(query="", fragment=""))  # a query may hold a secret
    data, answer = ask(url, pattern, config)
    data = {"url": key, **data}
    judge("down", ("http.down", "http.up"), bool(data["problem"]), data, key, config.checks, emit, state)
    if answer is None:
        return
    if config.get("max_seconds") is not None and not data["problem"]:
        slow = data["seconds"] > config.get("max_seconds")
        judge("slow", ("http.slow", "http.fast"), slow, {**data, "max_seconds": config.get("max_seconds")}, key, config.checks, emit, state)
    if answer.certificate_ends is not None:
        soon = data["certificate_days"] < config.certificate_days
        judge("expiring", ("certificate.expiring", "certificate.renewed"), soon, data, key, 1, emit, state)


def ask(url, pattern, config):
    """What there is to say about one request, and the answer, None without one."""
    begin = time.monotonic()
    headers = {"User-Agent": "stavily", **config["headers"]}
    try:
        answer = exchange(config.method, url, headers=headers, timeout=config.timeout, most=MOST, ca_files=config.ca_files)
    except NoAnswer as error:
        return {"status": None, "seconds": round(time.monotonic() - begin, 3), "problem": str(error)}, None
    data = {"status": answer.status, "seconds": round(time.monotonic() - begin, 3), "problem": ""}
    if answer.certificate_ends is not None:
        data["certificate_days"] = round((answer.certificate_ends - time.time()) / DAY, 1)
    data["problem"] = wrong(answer, pattern, config)
    return data, answer


def wrong(answer, pattern, config):
    """What is wrong with an answer, "" when nothing is."""
    right = answer.status in config.status if config.status else 200 <= answer.status < 300
    if not right and 300 <= answer.status < 400:
        return "redirects to {}: check that URL".format(answer.headers.get("Location", "nowhere"))
    if not right:
        return "answers {} {}".format(answer.status, answer.reason)
    if pattern is None:
        return ""
    try:
        with Limit(MATCHING):
            found = pattern.search(answer.body.decode("utf-8", "replace"))
    except TooSlow as error:
        return "searching the body {}: make the expression simpler".format(error)
    return "" if found else "the body does not have {!r}".format(config.get("body"))


def judge(topic, types, bad, data, key, checks, emit, state):
    """Emit the first type when it has been bad for long enough, the second when it is good again."""
    seen = state.get(topic) or {"told": False, "checks": 0}
    told, count = seen["told"], seen["checks"] + 1 if bad else 0
    # The state follows the event: what could not be emitted is tried again at the next check.
    if not told and count >= checks:
        emit(types[0], data={**data, "checks": count}, severity="high" if topic == "down" else "medium", key=key)
        told = True
    elif told and not bad:
        emit(types[1], data={**data, "checks": 0}, severity="low", key=key)
        told = False
    state[topic] = {"told": told, "checks": min(count, checks)}


if __name__ == "__main__":
    stavily.run()
