"""Our own follow-up studies, beyond the paper's claims, and the generators of pages in docs. Not in the wheel."""

import argparse
from collections.abc import Callable
from pathlib import Path

from taskclust.config import ConfigError, require


def command_line(main: Callable[..., None], about: str | None, **arguments: str) -> None:
    """Call ``main`` with the arguments of the command line; show a :class:`ConfigError` as one line.

    Args:
        main: the function to call.
        about: the text of the help.
        arguments: the help of each argument by name; a name that ends in "s" takes several words.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, meaning in arguments.items():
        parser.add_argument(name, help=meaning, nargs="+" if name.endswith("s") else 1)
    given = vars(parser.parse_args())
    try:
        main(*(word for name in arguments for word in given[name]))
    except ConfigError as error:
        raise SystemExit(str(error)) from error


def require_own(path: Path, command: str) -> None:
    """Refuse, before anything is computed, to replace a file that the command did not write.

    Raises:
        ConfigError: the path is such a file.
    """
    made = f"Made by `python -m {command}".encode()
    is_own = not path.exists() or (path.is_file() and made in path.read_bytes()[:300])
    require(is_own, "to", str(path), f"{command} did not write this file; choose a new name")
