"""What a probe is: one attack, that says what came of it and never raises.

A probe is a function of the bait (what the host has that is worth attacking). Its
first line of documentation names the attack. It returns its evidence when the attack
worked; an OSError, or Blocked, says that it was refused; NotApplicable, that this host
has nothing to attack. Anything else is a mistake in the probe, and told as such: a
probe that fails by itself proves nothing.
"""

import contextlib
import errno
import traceback
from typing import Any, Callable, Dict, Iterator, NamedTuple, Union

Bait = Dict[str, Any]

# What the control run, without a sandbox, has to show: that the attack works. Any
# other text says who refuses it to an ordinary user already.
WORKS = "works"

ORDINARY = "the kernel refuses it to every user but root"
SUPERVISED = "the agent's supervision, which holds in every level"
ALWAYS = "every launch, in every level"


class Blocked(Exception):
    """The attack was tried and did not work."""


class NotApplicable(Exception):
    """The host has nothing that this could attack."""


class _Probe(NamedTuple):
    name: str
    theme: str
    about: str
    control: str
    kind: str
    order: int
    run: Callable[[Bait], Union[str, bytes]]

    def listed(self) -> Dict[str, Any]:
        return {
            "name": self.name,
            "theme": self.theme,
            "about": self.about,
            "control": self.control,
            "kind": self.kind,
            "order": self.order,
        }


PROBES: Dict[str, _Probe] = {}

# Beside others, with nothing else running, with a time limit of two seconds, or to be
# there while others run.
QUICK, ALONE, SHORT, VICTIM, LAST = "quick", "alone", "short", "victim", "last"


def probe(control: str = WORKS, kind: str = QUICK) -> Callable[[Any], Any]:
    """Make a function a probe named as it is, of the theme that its module is."""

    def register(function: Callable[[Bait], Union[str, bytes]]) -> Callable[[Bait], Union[str, bytes]]:
        theme = function.__module__.rpartition(".")[2]
        about = (function.__doc__ or "").strip().splitlines()[0].rstrip(".")
        PROBES[function.__name__] = _Probe(
            function.__name__, theme, about, control, kind, len(PROBES), function
        )
        return function

    return register


def attempt(name: str, bait: Bait) -> Dict[str, str]:
    """Run a probe and say what came of it."""
    try:
        evidence = PROBES[name].run(bait)
    except NotApplicable as reason:
        return _outcome("na", str(reason))
    except Blocked as reason:
        return _outcome("blocked", str(reason))
    except MemoryError:
        return _outcome("blocked", "out of memory")
    except OSError as error:
        return _outcome("blocked", errno.errorcode.get(error.errno or 0, str(error)))
    except Exception:  # whatever is wrong with the probe is told, not lost
        return _outcome("broken", traceback.format_exc())
    return _outcome("open", evidence)


def _outcome(verdict: str, evidence: Union[str, bytes]) -> Dict[str, str]:
    if isinstance(evidence, bytes):
        evidence = evidence[:200].decode("latin-1")
    return {"verdict": verdict, "evidence": evidence[:2000]}


class Unprepared(Exception):
    """What the probe needs for itself could not be made: nothing was attacked."""


@contextlib.contextmanager
def preparing() -> Iterator[None]:
    """Around what must work everywhere, so that its failure is not taken for a refusal."""
    try:
        yield
    except OSError as error:
        raise Unprepared(str(error)) from error


def each(attempts: Dict[str, Callable[[], Any]]) -> str:
    """Try several ways to the same end; the evidence names those that worked."""
    worked, refused = [], []
    for name, way in attempts.items():
        try:
            way()
            worked.append(name)
        except OSError as error:
            refused.append("{} {}".format(name, errno.errorcode.get(error.errno or 0, "?")))
        except (Blocked, NotApplicable) as reason:
            refused.append("{}: {}".format(name, reason))
    if not worked:
        raise Blocked("; ".join(refused))
    return "worked: " + ", ".join(worked)
