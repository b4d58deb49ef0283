"""Compiled loops called by threads and in forked processes; numba chooses its threads once for each process."""

import importlib.util
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


def python(code, **variables):
    """Return a process that ran the code, numba's threads as they are by default but for these variables."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_THREADING")}
    return subprocess.run([sys.executable, "-c", code], env=plain | variables, capture_output=True, text=True)


@pytest.mark.parametrize("where", [THREADS, FORK], ids=["threads", "fork"])
@pytest.mark.parametrize("layer", ["omp", "tbb", "workqueue"])
def test_concurrent_callers(layer, where):
    if where is FORK and not hasattr(os, "fork"):
        pytest.skip("no fork")
    run = python(CODE + where, NUMBA_THREADING_LAYER=layer)
    if "No threading layer could be loaded" in run.stderr:
        pytest.skip(f"numba has no {layer} here")
    assert run.returncode == 0, run.stderr


def test_openmp_is_preferred_to_tbb_unless_the_user_chose():
    if importlib.util.find_spec("numba.np.ufunc.omppool") is None:
        pytest.skip("numba has no OpenMP here")
    code = CODE + "import numba; print(numba.config.THREADING_LAYER_PRIORITY, numba.threading_layer())"
    assert python(code).stdout.split() == ["['omp',", "'tbb',", "'workqueue']", "omp"]
    assert python(code, NUMBA_THREADING_LAYER="workqueue").stdout.split()[-1] == "workqueue"
    chosen = python(code, NUMBA_THREADING_LAYER_PRIORITY="workqueue omp tbb").stdout.split()
    assert chosen == ["['workqueue',", "'omp',", "'tbb']", "workqueue"]
