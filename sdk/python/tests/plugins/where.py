"""An action that tells where it finds the host."""

import stavily


@stavily.action
def where():
    return {"proc": stavily.host.proc()}


if __name__ == "__main__":
    stavily.run()
