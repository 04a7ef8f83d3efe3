"""What is asked for in the settings and not installed is reported by name, with the extra that brings it."""

import sys
from pathlib import Path

import pytest

from configdrive.errors import PermanentCode
from configdrive.model import HypervisorName
from tests.support import error_of
from workers.config.settings import Settings
from workers.observability import optional


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        inventory=tmp_path / "inventory.toml",
        keys_file=tmp_path / "keys.json",
        metrics_port=0,
        traces_url="http://127.0.0.1:4318/v1/traces",
    )


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Have a package be not installed, and what imports it be imported anew."""
    for name in [*sys.modules]:
        if name.startswith(("workers.observability.metrics", "workers.observability.tracing")):
            monkeypatch.delitem(sys.modules, name)
            monkeypatch.delattr(name, raising=False)  # `from package import module` would find it there
    monkeypatch.setitem(sys.modules, package, None)


def test_metrics_need_their_extra(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    without(monkeypatch, "prometheus_client")
    for open_ in (
        lambda: optional.open_worker_metrics(settings, HypervisorName("simulated"), []),
        lambda: optional.open_sweeper_metrics(settings),
        lambda: optional.open_adapter_metrics(settings, "amqp", []),
    ):
        caught = error_of(open_)
        assert caught.code is PermanentCode.MISCONFIGURED
        assert caught.detail == "metrics_port: needs the module 'prometheus_client', which is not installed"
        assert "pip install '.[metrics]'" in caught.remedy


def test_traces_need_their_extra(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    without(monkeypatch, "opentelemetry")
    caught = error_of(optional.open_tracing, settings)
    assert caught.code is PermanentCode.MISCONFIGURED
    assert "'opentelemetry" in caught.detail
    assert "pip install '.[otel]'" in caught.remedy


def test_nothing_is_made_that_is_not_asked_for(settings: Settings) -> None:
    quiet = settings.model_copy(update={"metrics_port": None, "traces_url": None})
    assert optional.open_worker_metrics(quiet, HypervisorName("simulated"), []) is None
    assert optional.open_sweeper_metrics(quiet) is None
    assert optional.open_adapter_metrics(quiet, "amqp", []) is None
    assert optional.open_tracing(quiet) == []
