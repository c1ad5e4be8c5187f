"""Pushes metrics to a Pushgateway, from which Prometheus fetches them."""

import base64
import math
import re
import urllib.parse

import stavily
from stavily.tools.delivery import deliver

METRIC, LABEL = re.compile(r"^[a-zA-Z_:][a-zA-Z0-9_:]*$"), re.compile(r"^[a-zA-Z_][a-zA-Z0-9_]*$")
TYPES = ("gauge", "counter", "untyped")


@stavily.output
def prometheus_pushgateway(message, ctx):
    """Push the message's metrics to the group of config.job and config.labels."""
    body = exposition(message.as_dict().get("content")).encode()
    config = ctx.config
    url = config.url.rstrip("/") + group(config.job, dict(config.labels))
    headers = {"Content-Type": "text/plain; version=0.0.4", **config["headers"]}
    method = "PUT" if config.replace_all else "POST"
    return deliver(method, url, body, headers, ctx, timeout=config.timeout, retries=config.retries, ca_files=config.ca_files)


def group(job, labels):
    """The path of a group of metrics; a value that a path cannot have goes in base64."""
    path = "/metrics"
    for name, value in [("job", job)] + sorted(labels.items()):
        if not LABEL.match(name) or name != "job" and name.startswith("__"):
            raise stavily.Refused("{!r} in config.labels is not the name of a label".format(name))
        value = str(value)
        if value and "/" not in value:
            path += "/{}/{}".format(name, urllib.parse.quote(value, safe=""))
        else:
            path += "/{}@base64/{}".format(name, base64.urlsafe_b64encode(value.encode()).decode() or "=")
    return path


def exposition(content):
    """Metrics in Prometheus's text form: name → number, or {value, labels, type, help}, or a list of these."""
    metrics = content.get("metrics") if isinstance(content, dict) else None
    if not isinstance(metrics, dict) or not metrics:
        raise stavily.Refused('the message\'s content must be {{"metrics": {{name: number, …}}}}, is {!r}'.format(content))
    lines = []
    for name, samples in metrics.items():
        if not METRIC.match(name):
            raise stavily.Refused("{!r} is not the name of a metric: letters, digits, _ and :".format(name))
        samples = [one if isinstance(one, dict) else {"value": one} for one in (samples if isinstance(samples, list) else [samples])]
        kind = samples[0].get("type", "gauge") if samples else "gauge"
        if kind not in TYPES:
            raise stavily.Refused("the type of {} must be one of {}, is {!r}".format(name, ", ".join(TYPES), kind))
        if samples and samples[0].get("help"):
            lines.append("# HELP {} {}".format(name, str(samples[0]["help"]).replace("\\", "\\\\").replace("\n", "\\n")))
        lines.append("# TYPE {} {}".format(name, kind))
        lines += [sample(name, one) for one in samples]
    return "\n".join(lines) + "\n"


def sample(name, one):
    """One line."""
    value = one.get("value")
    if isinstance(value, str):  # a workflow's template gives text
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise stavily.Refused("the value of {} must be a number, is {!r}".format(name, one.get("value")))
    text = repr(value) if math.isfinite(value) else {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    labels = one.get("labels") or {}
    if not isinstance(labels, dict):
        raise stavily.Refused("the labels of {} must be an object, name → value".format(name))
    for label in labels:
        if not LABEL.match(label) or label.startswith("__"):
            raise stavily.Refused("{!r} of {} is not the name of a label".format(label, name))
    return "{}{} {}".format(name, told(labels), text)


def told(labels):
    """Labels with their values, between braces."""
    if not labels:
        return ""
    quoted = ('{}="{}"'.format(key, escaped(value)) for key, value in sorted(labels.items()))
    return "{" + ",".join(quoted) + "}"


def escaped(value):
    """The value of a label."""
    return str(value).replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


if __name__ == "__main__":
    stavily.run()
