"""What long work shows, and what is left when it is stopped."""

import sys

import numpy as np
import pytest

import sparselmm
from sparselmm.errors import FitInterrupted
from sparselmm.optimize import minimize
from sparselmm.progress import Progress
from sparselmm.start import moment_start


@pytest.fixture(scope="module")
def model():
    return sparselmm.LinearMixedModel.from_formula(
        "Reaction ~ Days + (Days | Subject)", sparselmm.datasets.load("sleepstudy")
    )


class Impatient:
    """Progress that presses Ctrl-C at an evaluation."""

    def __init__(self, at):
        self.left = at

    def step(self, deviance, gradient_norm=None):
        if gradient_norm is None:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt


@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_interrupted_descent_leaves_its_record(model, at):
    likelihood = model.likelihood()
    with pytest.raises(FitInterrupted) as stop:
        minimize(likelihood, moment_start(model.cross), likelihood.theta_scale, progress=Impatient(at))
    record = stop.value.record
    assert isinstance(stop.value, KeyboardInterrupt)
    assert record.evaluations == at and not record.converged and "Go on" in record.message
    assert np.isfinite(record.theta).all()
    assert str(record)
    fit, whole = model.fit(start=record.theta), model.fit()
    assert fit.converged and abs(fit.deviance - whole.deviance) < 1e-8
    assert at < 3 or fit.optimizer.evaluations < whole.optimizer.evaluations


def test_the_bar_shows_rows_and_evaluations(model, capsys):
    with Progress(True) as shown:
        shown.rows(1000)
        shown.add_rows(400)
        shown.note("Reading is slow.")
        shown.rows()
        shown.add_rows(70)
        likelihood = model.likelihood()
        minimize(likelihood, moment_start(model.cross), likelihood.theta_scale, progress=shown)
        shown.iterations(12)
    text = capsys.readouterr().err
    for words in ("400/1.00k rows", "70.0 rows", "Reading is slow.", "deviance 1,743.628", "|g| ", "CG iteration 12"):
        assert words in text, text


def test_silence(model, capsys):
    model.fit()
    assert capsys.readouterr() == ("", "")


def test_missing_tqdm_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match="pip install tqdm"):
        Progress(True)
