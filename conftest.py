"""Load the plugin that has the claims' options and fixtures; see ``pytest benchmarks --help``, group "taskclust"."""

from pathlib import Path

import pytest

pytest_plugins = ["taskclust.plugin", "pytester"]  # the second is for the tests of the first


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ignore the speed benchmarks, which ``pytest benchmarks`` runs only if they are named."""
    is_perf = collection_path.name == "perf" and not any("perf" in argument for argument in config.args)
    return True if is_perf else None
