import pytest

from serving.client import retry


@pytest.fixture(autouse=True)
def short_delays(monkeypatch):
    """Requests are sent again after a tenth of the usual delays."""
    monkeypatch.setattr(retry, "BACKOFF_S", tuple(delay / 10 for delay in retry.BACKOFF_S))
