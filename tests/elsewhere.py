"""Fits of rows that were summed elsewhere, compared with those in memory."""


def agree_with_memory(agree, where, model, fit, whole):
    """Compare two fits of the same rows."""
    assert (fit.nobs, fit.model.design.n_missing) == (whole.nobs, whole.model.design.n_missing)
    assert fit.model.exog_names == whole.model.exog_names
    reference = "all rows in memory"
    agree(f"deviance, {where}", model, reference, fit.deviance, whole.deviance, rtol=1e-9)
    agree(f"fixed effects, {where}", model, reference, fit.fe_params, whole.fe_params, rtol=1e-6)
    agree(f"standard errors, {where}", model, reference, fit.bse_fe, whole.bse_fe, rtol=1e-6)
    agree(f"variances, {where}", model, reference, fit.vcomp["variance"], whole.vcomp["variance"], rtol=1e-4)
    for name, effects in whole.random_effects.items():
        assert list(fit.random_effects[name].index) == list(effects.index)
        agree(f"effects of {name}, {where}", model, reference, fit.random_effects[name], effects, atol=1e-5)
