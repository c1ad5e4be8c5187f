"""An output that returns what it was given."""

import stavily


@stavily.output
def deliver(message):
    return message.as_dict()


if __name__ == "__main__":
    stavily.run()
