"""The claims' options and fixtures are the plugin's; see ``pytest benchmarks --help``, group "taskclust"."""

from pathlib import Path

import pytest

pytest_plugins = ["taskclust.plugin", "pytester"]  # the second is for the tests of the first


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """``pytest benchmarks`` judges claims; speed is measured when asked for by name."""
    is_perf = collection_path.name == "perf" and not any("perf" in argument for argument in config.args)
    return True if is_perf else None
