"""Sends messages by mail, over an encrypted connection to a mail server."""

import email.message
import email.utils
import itertools
import smtplib
import ssl

import stavily

# Seconds before the first retry, doubled for each further one up to the longest.
FIRST_WAIT, LONGEST_WAIT = 2.0, 120.0


@stavily.output
def mail(message, ctx):
    """Send the message to config.recipients; returns who was refused and how many attempts it took."""
    letter = compose(message, ctx)
    for number in itertools.count(1):
        try:
            refused = send(letter, ctx)
        except smtplib.SMTPResponseException as error:
            problem, later = told(error), 400 <= error.smtp_code < 500
        except smtplib.SMTPRecipientsRefused as error:
            problem = "no recipient was accepted: " + "; ".join(answer(*why) for why in error.recipients.values())
            later = all(400 <= code < 500 for code, _ in error.recipients.values())
        except ssl.SSLCertVerificationError as error:
            problem, later = "the certificate of {} is not trusted: {}".format(ctx.config.server, error.verify_message), False
        except smtplib.SMTPNotSupportedError as error:
            problem, later = "{}: {}: see `security`".format(ctx.config.server, error), False
        except (OSError, smtplib.SMTPException) as error:
            problem, later = "no answer from {}: {}".format(ctx.config.server, error), True
        else:
            return {"attempts": number, "refused": refused, "message_id": letter["Message-ID"]}
        pause(problem, later, number, ctx)


def pause(problem, later, number, ctx):
    """Wait before the next attempt; Failed when there is to be none."""
    wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (number - 1))
    if not later or number > ctx.config.retries or wait >= ctx.remaining:
        raise stavily.Failed("{} (attempt {})".format(problem, number), {"attempts": number})
    ctx.log.warning("%s; again in %.0f seconds", problem, wait)
    ctx.sleep(wait)
    if ctx.cancelled:
        raise stavily.Cancelled("cancelled after: " + problem, {"attempts": number})


def compose(message, ctx):
    """The mail: a text is its body, an object has text, and perhaps subject and html."""
    content = message.as_dict().get("content")
    if isinstance(content, str):
        content = {"text": content}
    if not isinstance(content, dict) or not isinstance(content.get("text"), str):
        raise stavily.Refused("the message's content must be a text, or an object with text, and perhaps subject and html")
    letter = email.message.EmailMessage()
    first = content["text"].strip().splitlines() or [""]
    # A header is one line, whatever the event that it was made of holds.
    letter["Subject"] = " ".join(str(content.get("subject") or first[0][:100] or "Stavily").split())
    letter["From"] = ctx.config.sender
    letter["To"] = ", ".join(ctx.config.recipients)
    letter["Date"] = email.utils.formatdate(localtime=False)
    # The same in every attempt, so that receivers tell a repetition.
    letter["Message-ID"] = "<{}@stavily>".format("".join(c for c in ctx.idempotency_key if c.isalnum() or c in "-._") or "message")
    letter["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answers from those on holiday
    letter.set_content(content["text"])
    if content.get("html"):
        letter.add_alternative(str(content["html"]), subtype="html")
    return letter


def send(letter, ctx):
    """Hand the mail to the server; returns the recipients that it refused, with its reasons."""
    config = ctx.config
    host, port = parse(config.server)
    timeout = max(0.001, min(config.timeout, ctx.remaining))
    context = trusted(config.ca_files)
    if config.security == "tls":
        server = smtplib.SMTP_SSL(host, port, local_hostname="[127.0.0.1]", timeout=timeout, context=context)
    else:
        server = smtplib.SMTP(host, port, local_hostname="[127.0.0.1]", timeout=timeout)
    with server:
        if config.security == "starttls":
            server.starttls(context=context)
        if config.get("username"):
            if config.security == "none":
                raise stavily.Refused("a password is not sent over a connection that anybody can read: set security to starttls or tls")
            server.login(config.get("username"), config.get("password") or "")
        refused = server.send_message(letter)
    return {who: answer(*why) for who, why in refused.items()}


def parse(server):
    """Host and port."""
    host, _, port = server.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise stavily.Refused("config.server must be host:port, is {!r}".format(server))
    return host.strip("[]"), int(port)


def trusted(ca_files):
    """Whom to trust."""
    context = ssl.create_default_context()
    for path in ca_files:
        try:
            context.load_verify_locations(path)
        except OSError as error:
            raise stavily.Refused("the certificates in {} cannot be read: {}".format(path, error.strerror or error)) from error
    return context


def told(error):
    """What the server said to a command."""
    text = answer(error.smtp_code, error.smtp_error)
    return "the server refuses the login: " + text if isinstance(error, smtplib.SMTPAuthenticationError) else "the server answers " + text


def answer(code, text):
    """An answer of the server, in one line."""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return "{} {}".format(code, " ".join(text.split()))


if __name__ == "__main__":
    stavily.run()
