"""An action whose configuration and parameters are dataclasses."""

from dataclasses import dataclass
from typing import List

import stavily


@dataclass
class Config:
    roots: List[str] = stavily.field([])


@dataclass
class Params:
    path: str = stavily.field(description="Größe")


@stavily.action
def act(params: Params, config: Config):
    return {"allowed": params.path in config.roots}


if __name__ == "__main__":
    stavily.run()
