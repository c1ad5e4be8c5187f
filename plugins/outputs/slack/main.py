"""Posts messages to a channel of Slack through an incoming webhook."""

import json

import stavily
from stavily.tools.delivery import deliver

# Colours at the side of a message, by severity.
COLOURS = {"low": "#36a64f", "medium": "#f2c744", "high": "#e8912d", "critical": "#d40e0d"}
# What Slack takes at most, in characters: of a header, of a text in a section, of a field; and how many fields.
TITLE, TEXT, FIELD, FIELDS = 150, 3000, 2000, 10
KNOWN = ("text", "title", "severity", "fields", "blocks", "attachments")


@stavily.output
def slack(message, ctx):
    """POST the message in Slack's form until it is taken or the retries are used up."""
    body = json.dumps(payload(message.as_dict().get("content"))).encode()
    config, headers = ctx.config, {"Content-Type": "application/json"}
    return deliver("POST", config.url, body, headers, ctx, timeout=config.timeout, retries=config.retries, ca_files=config.ca_files)


def payload(content):
    """What Slack is sent: blocks of its own as they are, else what is made of text, title, severity and fields."""
    if isinstance(content, str):
        content = {"text": content}
    if not isinstance(content, dict):
        raise stavily.Refused("the message's content must be an object or a text, is {!r}".format(content))
    unknown = sorted(set(content) - set(KNOWN))
    if unknown:
        raise stavily.Refused("the message has {}: Slack is sent {}".format(", ".join(unknown), ", ".join(KNOWN)))
    if content.get("blocks") or content.get("attachments"):
        return {key: content[key] for key in ("text", "blocks", "attachments") if content.get(key)}
    text, title = str(content.get("text") or ""), str(content.get("title") or "")
    if not text and not title:
        raise stavily.Refused("the message has neither text nor title")
    return {"text": cut(title or text, TEXT), "attachments": [{"color": colour(content), "blocks": blocks(title, text, content)}]}


def colour(content):
    """The colour of a message's severity."""
    severity = content.get("severity") or "low"
    if severity not in COLOURS:
        raise stavily.Refused("severity must be one of {}, is {!r}".format(", ".join(COLOURS), severity))
    return COLOURS[severity]


def blocks(title, text, content):
    """Title, text and fields, as blocks."""
    made = []
    if title:
        made.append({"type": "header", "text": {"type": "plain_text", "text": cut(title, TITLE)}})
    if text:
        made.append({"type": "section", "text": {"type": "mrkdwn", "text": cut(text, TEXT)}})
    fields = content.get("fields") or {}
    if not isinstance(fields, dict):
        raise stavily.Refused("fields must be an object, name → value, is {!r}".format(fields))
    told = [{"type": "mrkdwn", "text": cut("*{}*\n{}".format(escaped(name), escaped(value)), FIELD)} for name, value in fields.items()]
    if told:
        made.append({"type": "section", "fields": told[:FIELDS]})
    return made


def escaped(value):
    """A value of an event as it is: no link, no mention of a channel."""
    return str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cut(text, most):
    """At most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


if __name__ == "__main__":
    stavily.run()
