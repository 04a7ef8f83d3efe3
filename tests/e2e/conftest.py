"""Fleets of real worker processes: one that most tests share, and a maker of others."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from rigs.process import core_files_on
from tests.e2e.site import QUICK, Site
from tests.support import require_rig


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One worker with four children. Every test brings VMs of its own."""
    with require_rig():
        site = Site(tmp_path_factory.mktemp("site"), settings={**QUICK, "concurrency": 4})
    with ExitStack() as stack:
        with core_files_on():  # that workers write none is their own doing
            stack.enter_context(site)
        yield site


@pytest.fixture
def make_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Site]]:
    """Return a maker of sites that are not started; they are stopped at the end of the test."""
    with ExitStack() as stack:

        def make(**options: Any) -> Site:  # noqa: ANN401 - those of `Site`
            with require_rig():
                site = Site(tmp_path_factory.mktemp("site"), **options)
            stack.callback(site.stop)
            return site

        yield make
