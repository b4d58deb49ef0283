"""Fixtures of all tests."""

import pytest
import reached
from reached import pytest_sessionfinish, pytest_terminal_summary  # noqa: F401
from validation import Validation

reached.watch()


def pytest_addoption(parser):
    parser.addoption("--validation-folder", default=None, help="where comparisons with references are written")


@pytest.fixture(scope="session")
def agree(request):
    """The function that compares with a reference; see `Validation`."""
    return Validation(request.config.getoption("--validation-folder"))
