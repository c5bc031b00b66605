"""Fixtures for tests in several folders."""

import pytest

from taskclust.store import Store


@pytest.fixture
def store(tmp_path):
    """A store with a record of every experiment."""
    from tests.experiments.made import RECORDS, put  # only for tests that use it

    filled = Store(tmp_path / "store")
    for kind, record in RECORDS.items():
        put(filled, kind, record)
    return filled
