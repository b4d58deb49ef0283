"""Multiplicity adjustments against R, SciPy and simulation."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtri

from sparselmm.marginal_means import adjust
from sparselmm.marginal_means.adjust import Family, critical_values, p_values, studentized_range_tail
from sparselmm.marginal_means.contrasts import matrix

REFERENCE = json.loads((Path(__file__).parent / "reference" / "emmeans.json").read_text())
R = REFERENCE["provenance"]["R"].removeprefix("R version ").split(" ")[0]
ONE_STEP = list(adjust.ONE_STEP)


def test_studentized_range_equals_r(agree):
    """R's ptukey promises 1e-10 in its integral; it errs by up to 1e-3 for two degrees of freedom (see below)."""
    q, k, df, tail = np.array(REFERENCE["tukey"], dtype=float).T
    df[np.isnan(df)] = np.inf
    ours = [studentized_range_tail(*args)[0] for args in zip(q[:, None], k, df[:, None], strict=True)]
    agree("studentized range: tail", "k 2-15, df 8-inf", f"ptukey of R {R}", ours, tail, atol=1e-8)


def test_studentized_range_equals_scipy(agree):
    from scipy.stats import studentized_range

    cases = [(q, k, df) for q in (0.5, 3.0, 20.0) for k in (2, 4.5, 20) for df in (1.0, 2.0, 3.7, 15.0, 500.0)]
    ours = [studentized_range_tail(np.array([q]), k, np.array([df]))[0] for q, k, df in cases]
    theirs = [studentized_range.sf(*case) for case in cases]
    agree("studentized range: tail", "k 2-20, df 1-500", "scipy.stats.studentized_range", ours, theirs, atol=1e-10)


def test_range_of_two_means_is_students_t():
    t, df = np.array([0.3, 1.0, 2.5, 6.0]), np.array([1.0, 3.3, 17.0, np.inf])
    family = Family(1, 2, np.eye(1))
    np.testing.assert_allclose(adjust.tukey(t, df, family), adjust.none(t, df, family), atol=1e-13)


@pytest.mark.parametrize("method", REFERENCE["adjusted"])
def test_p_adjust(method, agree):
    p = np.array(REFERENCE["p"])
    shuffled = np.random.default_rng(0).permutation(p.size)
    t = -ndtri(p[shuffled] / 2.0)
    ours = p_values(adjust.method_name(method), t, np.full(p.size, np.inf), Family(p.size, 0, np.eye(p.size)))
    agree("p.adjust", method, f"R {R}", ours, np.array(REFERENCE["adjusted"][method])[shuffled], atol=1e-12)


def test_multivariate_t_equals_mvtnorm(agree):
    for name, size in {"pairwise": 4, "consec": 5, "mean_chg": 6}.items():
        K, _, _ = matrix(name, [str(i) for i in range(size)])
        family = Family(len(K), 0, K @ K.T)
        ours = [adjust.mvt(np.full(2, t), np.array([7.0, 30.0]), family) for t in (1.0, 2.0, 3.0)]
        reference = f"mvtnorm {REFERENCE['provenance']['mvtnorm']}"
        agree("multivariate t: tail", name, reference, np.transpose(ours), REFERENCE["mvt"][name], atol=2e-4)


def test_multivariate_t_of_independent_normals_is_sidak():
    t, df = np.array([0.5, 1.5, 2.5, 4.0]), np.full(4, np.inf)
    family = Family(5, 0, np.diag([1.0, 4.0, 9.0, 1e-6, 1e6]))
    np.testing.assert_allclose(adjust.mvt(t, df, family), adjust.sidak(t, df, family), atol=1e-4)


@pytest.mark.parametrize("method", ONE_STEP)
def test_critical_values_invert_tails(method):
    K, _, _ = matrix("pairwise", list("abcd"))
    family, df = Family(6, 4, K @ K.T), np.array([3.0, 11.5, 11.5, 80.0, np.inf, np.nan])
    critical = critical_values(method, 0.9, df, family)
    tails = p_values(method, critical, df, family)
    np.testing.assert_allclose(tails[:5], 0.1, atol=1e-9)
    assert np.isnan(critical[5]) and np.isnan(tails[5])


@pytest.mark.parametrize("method", ["tukey", "mvt", "scheffe", "bonferroni", "sidak"])
def test_coverage_of_simultaneous_intervals(method):
    """All pairs of four means with 12 degrees of freedom: exact for Tukey and mvt, conservative for the others."""
    rng = np.random.default_rng(1)
    K, _, _ = matrix("pairwise", list("abcd"))
    family = Family(6, 4, K @ K.T)
    critical = critical_values(method, 0.95, np.array([12.0]), family)[0]
    n = 40_000
    t = rng.standard_normal((n, 4)) @ K.T / np.sqrt(2.0) / np.sqrt(rng.chisquare(12, n) / 12)[:, None]
    coverage = (np.abs(t).max(axis=1) < critical).mean()
    assert coverage > 0.95 - 0.004
    if method in ("tukey", "mvt"):
        assert coverage < 0.95 + 0.004


def test_p_values_are_in_order_and_in_range():
    rng = np.random.default_rng(2)
    t, df = rng.standard_normal(8) * 3, np.full(8, 9.0)
    family = Family(8, 8, np.eye(8))
    raw = p_values("none", t, df, family)
    for method in (*adjust.ONE_STEP, *adjust.STEPWISE):
        p = p_values(method, t, df, family)
        assert (p >= raw - 1e-15).all() and (p <= 1.0).all(), method
        assert (np.diff(p[np.argsort(raw)]) >= -1e-12).all(), method


def test_no_adjustment_of_one_test():
    t, df, one = np.array([2.0]), np.array([9.0]), Family(1, 2, np.eye(1))
    for method in (*adjust.ONE_STEP, *adjust.STEPWISE):
        assert p_values(method, t, df, one)[0] == pytest.approx(p_values("none", t, df, one)[0], abs=1e-12)


def test_polynomials_are_the_tables_integers():
    for k, theirs in enumerate(REFERENCE["poly"], start=3):
        K, labels, _ = matrix("poly", [str(i) for i in range(k)])
        np.testing.assert_array_equal(K.T, theirs)
        assert labels[:2] == ["linear", "quadratic"]


@pytest.mark.parametrize("method", ["pairwise", "revpairwise", "trt.vs.ctrl", "trt.vs.ctrlk", "consec", "mean_chg"])
def test_reversed_contrasts_have_the_other_sign(method):
    K, labels, _ = matrix(method, list("abcd"), ref=1)
    turned, other, _ = matrix(method, list("abcd"), ref=1, reverse=True)
    np.testing.assert_array_equal(K, -turned)
    if method != "mean_chg":
        assert [" - ".join(reversed(label.split(" - "))) for label in labels] == other
    assert all(abs(sum(map(Fraction, row))) < 1e-12 for row in K)


def test_labels_that_look_like_differences_are_guarded():
    assert matrix("pairwise", ["a-b", "c"])[1] == ["(a-b) - c"]
    assert matrix("trt.vs.ctrl", list("abc"), ref=["a", "b"])[1] == ["c - avg(a,b)"]
