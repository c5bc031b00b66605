"""Our own follow-up research: what the paper does not ask. Not part of the wheel."""

import argparse
from pathlib import Path

from taskclust.config import require


def typed(about: str | None, **arguments: str) -> list[str]:
    """The words of a command line with these arguments: name and meaning; a name that ends in "s" takes several."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, what in arguments.items():
        parser.add_argument(name, help=what, **({"nargs": "+"} if name.endswith("s") else {}))  # type: ignore[arg-type]
    given = vars(parser.parse_args())
    return [word for name in arguments for word in ([given[name]] if isinstance(given[name], str) else given[name])]


def require_own(path: Path, command: str) -> None:
    """Refuse, before anything is computed, to replace a file that the command did not write.

    Raises:
        ConfigError: there is such a file.
    """
    made = f"Made by `python -m {command}".encode()
    is_own = not path.exists() or (path.is_file() and made in path.read_bytes()[:300])
    require(is_own, "to", str(path), f"it is a file that {command} did not write; name a new one")
