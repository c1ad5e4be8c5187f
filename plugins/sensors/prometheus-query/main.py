"""Asks a Prometheus server and tells when a value is too high, too low or missing."""

import json
import math
import urllib.parse

import stavily
from stavily.tools.web import NoAnswer, checked, exchange

# What is read of an answer, in bytes, and how many of its series are looked at: their names must
# find room in one value of the state, which has 64 KiB.
MOST, SERIES = 4 << 20, 200


@stavily.sensor(interval=60)
def prometheus_query(config, emit, state):
    """Emit prometheus.high, prometheus.low and prometheus.missing for each series, and prometheus.ok when it is over."""
    if config.get("above") is None and config.get("below") is None and not config.missing:
        raise stavily.Failed("nothing to tell: set above, below or missing")
    found = ask(config)
    levels = {name: level(value, config) for name, (_, value) in found.items()}
    if config.missing and not found:
        levels[""] = "missing"
    known = dict(state.get("series", {}))
    # Series that are gone are over, too: nobody would tell otherwise.
    for name in sorted(set(levels) | set(known)):
        labels, value = found.get(name, ({}, None))
        shown = value if value is None or math.isfinite(value) else str(value)
        data = {"query": config.query, "series": name, "labels": labels, "value": shown}
        known[name] = judge(levels.get(name, "ok"), known.get(name), data, config, emit)
        # After each event: what could not be emitted is tried again, and what was is not.
        state["series"] = {name: seen for name, seen in known.items() if seen[:2] != ["ok", "ok"]}


def ask(config):
    """The series of the answer: name → (labels, value)."""
    headers = {"User-Agent": "stavily", **config["headers"]}
    try:
        url = checked(config.url, "url")
        path = url.path.rstrip("/") + "/api/v1/query"
        url = url._replace(path=path, query=urllib.parse.urlencode({"query": config.query}))
        answer = exchange("GET", url, headers=headers, timeout=config.timeout, most=MOST, most_of_errors=MOST, ca_files=config.ca_files)
    except (NoAnswer, ValueError) as error:
        raise stavily.Failed(str(error)) from error
    try:
        document = json.loads(answer.body.decode("utf-8"))
        if document["status"] != "success":
            raise stavily.Failed("{} does not take the query: {}".format(url.hostname, document.get("error")))
        return series(document["data"])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        told = "{} answers {} {}, and not as Prometheus does: see that url is the server's"
        raise stavily.Failed(told.format(url.hostname, answer.status, answer.reason)) from error


def series(data):
    """The values of an answer, which is a vector or a scalar."""
    if data["resultType"] == "scalar":
        return {"scalar": ({}, float(data["result"][1]))}
    if data["resultType"] != "vector":
        raise stavily.Failed("the query gives a {}: it must give a vector or a scalar".format(data["resultType"]))
    if len(data["result"]) > SERIES:
        raise stavily.Failed("the query gives {} series: {} are looked at, so aggregate them".format(len(data["result"]), SERIES))
    return {name_of(one["metric"]): (one["metric"], float(one["value"][1])) for one in data["result"]}


def name_of(labels):
    """A series as people write it."""
    rest = ", ".join('{}="{}"'.format(key, labels[key]) for key in sorted(labels) if key != "__name__")
    return "{}{{{}}}".format(labels.get("__name__", ""), rest)


def level(value, config):
    """What a value means: high, low or ok; NaN is neither."""
    if config.get("above") is not None and value > config.get("above"):
        return "high"
    return "low" if config.get("below") is not None and value < config.get("below") else "ok"


def judge(now, seen, data, config, emit):
    """Emit when a series has become another one, and has been so for long enough; returns what is remembered of it."""
    told, last, checks = seen or ["ok", "ok", 0]
    checks = checks + 1 if now == last else 1
    if now != told and (now == "ok" or checks >= config.checks):
        emit("prometheus." + now, data=data, severity="low" if now == "ok" else "high", key=data["series"] or config.query)
        told = now
    return [told, now, min(checks, config.checks)]


if __name__ == "__main__":
    stavily.run()
