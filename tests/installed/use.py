"""Use the installed package: its data, a fit, a prediction, a model saved and loaded."""

import sys
import tempfile
from pathlib import Path

import numpy as np

import sparselmm

assert Path(sparselmm.__file__).is_relative_to(sys.prefix), sparselmm.__file__
sleepstudy = sparselmm.datasets.load("sleepstudy")
fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sleepstudy)
np.testing.assert_allclose(fit.fe_params, [251.4051, 10.4673], atol=1e-4)
np.testing.assert_allclose(fit.deviance, 1743.6283, atol=1e-4)  # lme4
assert "Subject" in str(fit.summary())
predicted = fit.predict(sleepstudy[:5])
np.testing.assert_allclose(predicted, fit.fittedvalues[:5])

more = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sleepstudy[:90]).update(sleepstudy[90:])
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "sleepstudy.npz"
    more.model.save(path)
    np.testing.assert_allclose(sparselmm.load_model(path).fit().deviance, fit.deviance, rtol=1e-10)

ratings = sparselmm.datasets.load("InstEval")  # large enough for compiled code
fit = sparselmm.lmer("y ~ service + (1 | s) + (1 | d)", ratings)
np.testing.assert_allclose(fit.deviance, 237743.583116, atol=1e-5)  # lme4
sparselmm.show_versions()
