"""Comparisons with a reference: asserted here, and written down for the page docs/validation.md.

`docs/validation.py` runs the tests with ``--validation-folder`` and makes the page of what they recorded.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np


class Validation:
    """Asserts that numbers agree and keeps the largest difference of each comparison.

    Parameters
    ----------
    folder : str or None
        Where the comparisons are written, one JSON line each; nowhere if None.
    """

    def __init__(self, folder=None):
        self.file = None
        if folder is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.file = Path(folder) / f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}.jsonl"

    def __call__(self, quantity, model, reference, ours, theirs, *, rtol=0.0, atol=0.0):
        """Assert |ours - theirs| <= atol + rtol |theirs| for all elements, NaN equal to NaN.

        Parameters
        ----------
        quantity, model, reference : str
            What is compared ("Satterthwaite df"), on which model ("sleepstudy slopes") and with what ("lmerTest
            3.1-3", "dense computation"): the columns of the page.
        ours, theirs : array_like of the same shape
        rtol, atol : float
            The tolerance; if `rtol` is given the difference is reported relative to theirs.
        """
        assert all(isinstance(text, str) for text in (quantity, model, reference))
        ours, theirs = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
        assert ours.shape == theirs.shape, f"{quantity}, {model}: shapes {ours.shape} and {theirs.shape}"
        assert ours.size, f"{quantity}, {model}: nothing to compare"
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol, err_msg=f"{quantity}, {model}, {reference}")
        if self.file is None:
            return
        defined = np.isfinite(theirs)
        difference = np.abs(ours[defined] - theirs[defined])
        if rtol:
            size = np.abs(theirs[defined]) + atol / rtol
            difference = np.divide(difference, size, out=difference.copy(), where=size > 0)
        record = {
            "file": os.environ["PYTEST_CURRENT_TEST"].split("::")[0],
            "quantity": quantity,
            "model": model,
            "reference": reference,
            "difference": float(difference.max(initial=0.0)),
            "relative": bool(rtol),
            "tolerance": rtol or atol,
            "count": int(ours.size),
        }
        with self.file.open("a") as file:
            file.write(json.dumps(record) + "\n")
