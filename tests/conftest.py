"""Fixtures of all tests."""

import pytest
from validation import Validation


def pytest_addoption(parser):
    parser.addoption("--validation-folder", default=None, help="where comparisons with references are written")


@pytest.fixture(scope="session")
def agree(request):
    """The function that compares with a reference; see `Validation`."""
    return Validation(request.config.getoption("--validation-folder"))
