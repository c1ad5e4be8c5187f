"""[[title]]: writes each message as one line to its log."""

import stavily


@stavily.output
def [[function]](message, ctx):
    """Deliver message.content; the result says what was delivered."""
    line = format_line(ctx.config.prefix, message.content)
    ctx.log.info("%s", line)
    return {"delivered": line}


def format_line(prefix, content):
    """The line for a message's content."""
    text = str(content["text"]).replace("\n", " ").strip()
    if not text:
        raise stavily.Refused("there is no text to deliver")
    return prefix + text


if __name__ == "__main__":
    stavily.run()
