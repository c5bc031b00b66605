"""Runs small enough to be made many times in a test."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small products are slower on several threads, and much slower on busy ones."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
