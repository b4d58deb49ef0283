"""Compiled loops called by threads and in forked processes; numba chooses its threads once for each process."""

import os
import subprocess
import sys

import pytest

CODE = """
import multiprocessing, warnings
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import scipy.sparse as sp
from sparselmm.engines.selinv import selected_inverse
from sparselmm.engines.spmm import csr_dot

warnings.simplefilter("ignore", DeprecationWarning)
A = sp.random_array((3_000, 2_000), density=0.02, random_state=1, format="csr")
L = sp.csc_array(sp.tril(sp.random_array((60, 60), density=0.2, random_state=2)) + 50 * sp.eye_array(60))
L = sp.csc_array(np.linalg.cholesky((L @ L.T).toarray() + np.diag(1.0 + np.arange(60.0))))
L.sort_indices()

def work(_=None):
    out = np.empty((3_000, 8))
    csr_dot(A.indptr, A.indices, A.data, np.ones((2_000, 8)), out)
    return float(out.sum()), float(np.sum(selected_inverse(L.indptr, L.indices, L.data)))

expected = work()
"""
THREADS = """
with ThreadPoolExecutor(4) as pool:
    np.testing.assert_allclose(list(pool.map(work, range(40))), [expected] * 40, rtol=1e-12)
"""
FORK = """
with multiprocessing.get_context("fork").Pool(1) as pool:
    np.testing.assert_allclose(pool.apply_async(work).get(timeout=60), expected, rtol=1e-12)
"""


@pytest.mark.parametrize("where", [THREADS, FORK], ids=["threads", "fork"])
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_concurrent_callers(layer, where):
    if where is FORK and not hasattr(os, "fork"):
        pytest.skip("no fork")
    environment = os.environ | {"NUMBA_THREADING_LAYER": layer}
    run = subprocess.run([sys.executable, "-c", CODE + where], env=environment, capture_output=True, text=True)
    if "No threading layer could be loaded" in run.stderr:
        pytest.skip(f"numba has no {layer} here")
    assert run.returncode == 0, run.stderr
