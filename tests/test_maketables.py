"""The attributes that maketables reads, and a table made by it where it is installed."""

import numpy as np
import pytest

import sparselmm


@pytest.fixture(scope="module")
def fits():
    data = sparselmm.datasets.load("sleepstudy")
    one = sparselmm.lmer("Reaction ~ Days + (1 | Subject)", data)
    return [one, sparselmm.lmer("Reaction ~ Days + I(Days**2) + (Days | Subject)", data, reml=False)]


def test_attributes(fits):
    for fit in fits:
        table = fit.__maketables_coef_table__
        assert list(table.columns) == ["b", "se", "t", "p", "df", "ci95l", "ci95u"]
        assert table.index.name == "Coefficient" and list(table.index) == fit.model.exog_names
        np.testing.assert_array_equal(table["b"], fit.params)
        np.testing.assert_array_equal(table["p"], fit.pvalues)
        assert fit.__maketables_depvar__ == "Reaction"
        assert fit.__maketables_stat__("N") == 180 and fit.__maketables_stat__("r2") is None
        assert all(fit.__maketables_stat__(key) is not None for key in fit.__maketables_default_stat_keys__)
    keys = ["SD Subject", "SD Subject: Days", "SD Residual", "Levels Subject", "N", "ll", "aic", "bic"]
    assert fits[1].__maketables_default_stat_keys__ == keys
    assert fits[0].__maketables_default_stat_keys__ == ["SD Subject", "SD Residual", "Levels Subject", "N", "ll"]


def test_column_has_nothing_else(fits):
    column = fits[0].for_maketables()
    assert not any(hasattr(column, name) for name in ("params", "bse", "pvalues"))
    assert column.__maketables_depvar__ == "Reaction"


@pytest.mark.filterwarnings("default")
def test_table(fits):
    maketables = pytest.importorskip("maketables")
    table = maketables.ETable([fit.for_maketables() for fit in fits])
    text = table.make(type="tex")
    for expected in ("251.405", "SD Subject: Days", "Reaction", f"({fits[0].bse['Days']:.3f})", "Log-likelihood"):
        assert expected in text
    assert "251.405" in table.make(type="gt").as_raw_html()
    assert "251.405" in maketables.ETable(fits).make(type="tex")
