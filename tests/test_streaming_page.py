"""The page on data larger than memory runs as it stands."""

import pytest
from pages import examples, run

SECTIONS = [
    "What can be read",
    "What a formula may hold",
    "Fitted values and predictions stream out",
    "Further rows",
    "Models as files",
]


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for section in SECTIONS:
        for code in examples("streaming.md", section):
            names = run(code, **names)
    fit, more, again = (names[name] for name in ("fit", "more", "again"))
    assert more.nobs == 21_000 and more.model.groups["user"] > 500
    assert again.deviance == pytest.approx(fit.deviance, abs=1e-7)
    assert names["residuals"]["residual"].std() == pytest.approx(fit.sigma, rel=0.05)
    assert "device[T.tablet]" in capsys.readouterr().out
