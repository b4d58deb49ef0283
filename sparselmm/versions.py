"""show_versions: the libraries that decide speed and answers, and the remedy where one is missing."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .engines import cholmod

PACKAGES = ("sparselmm", "numpy", "scipy", "pandas", "formulaic", "narwhals", "scikit-sparse", "numba", "matplotlib")


def blas_libraries() -> list[str]:
    """Return a line for every BLAS in the process, CHOLMOD's included."""
    from threadpoolctl import threadpool_info

    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return sorted({f"{p['internal_api']} {p.get('version')}, {p['num_threads']} threads" for p in pools})


def cholmod_blas_message() -> str:
    """Return what BLAS CHOLMOD uses, with the remedy if it is the slow reference BLAS."""
    from threadpoolctl import threadpool_info

    def is_system(pool: dict[str, Any]) -> bool:
        return pool["user_api"] == "blas" and "site-packages" not in (pool.get("filepath") or "site-packages")

    if cholmod.is_missing():
        return cholmod.version()
    system = [pool for pool in threadpool_info() if is_system(pool)]
    if not system:
        return (
            "reference BLAS (about six times slower). Install OpenBLAS: apt-get install libopenblas0-pthread on Debian "
            "or Ubuntu, brew install openblas on macOS; conda-forge's scikit-sparse brings its own."
        )
    return f"{system[0]['internal_api']} {system[0].get('version')}"


def show_versions() -> None:
    """Print the versions of the libraries in use, CHOLMOD's BLAS, and the remedy where one is missing."""
    print(f"Python         {platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in PACKAGES:
        try:
            print(f"{name:14} {version(name)}")
        except PackageNotFoundError:
            print(f"{name:14} not installed")
    print(f"CHOLMOD        {cholmod.version()}")
    print(f"CHOLMOD's BLAS {cholmod_blas_message()}")
    for line in blas_libraries():
        print(f"BLAS           {line}")
