"""One small data set with a column of every kind, as every library holds it."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

N = 60


def make_frame():
    """Return a pandas frame with a column of every kind."""
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "y": 5 + rng.normal(size=N),
            "x": rng.normal(size=N),
            "k": rng.integers(1, 9, N),
            "small": rng.integers(90, 120, N).astype(np.int8),
            "single": rng.normal(size=N).astype(np.float32),
            "b": rng.random(N) < 0.5,
            "f": rng.choice(["c", "a", "b"], N),
            "size": pd.Categorical(rng.choice(["lo", "mid", "hi"], N), ["lo", "mid", "hi", "huge"], ordered=True),
            "g": rng.integers(0, 6, N) * 10 - 20,
            "h": rng.choice(["w", "u", "v"], N),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 5, N), unit="D"),
            "my x": rng.random(N),
            "scale": 1 + rng.random(N),
        }
    )


def to_polars(data):
    """Return the frame as polars, ordered categories as an Enum."""
    return pl.from_pandas(data.astype({"size": object})).cast({"size": pl.Enum(["lo", "mid", "hi", "huge"])})


LIBRARIES = {
    "pandas": lambda data: data,
    "dict of arrays": lambda data: {name: data[name].array for name in data},
    "dict of lists": lambda data: {name: data[name].tolist() if name != "size" else data[name] for name in data},
    "dict of polars": lambda data: {name: column for name, column in zip(data, to_polars(data), strict=True)},
    "polars": to_polars,
    "polars lazy": lambda data: to_polars(data).lazy(),
    "arrow": lambda data: pa.Table.from_pandas(data),
    "arrow in chunks": lambda data: pa.concat_tables([pa.Table.from_pandas(data[:7]), pa.Table.from_pandas(data[7:])]),
    "pandas nullable": lambda data: data.convert_dtypes(),
    "pandas on arrow": lambda data: pa.Table.from_pandas(data).to_pandas(types_mapper=pd.ArrowDtype),
    "pandas objects": lambda data: data.astype({"f": object, "x": object, "k": object, "b": object}),
    "categorical strings": lambda data: data.astype({"f": "category", "h": "category"}),
    "polars from categorical": lambda data: to_polars(data).cast({"f": pl.Categorical, "h": pl.Categorical}),
    "polars small types": lambda data: to_polars(data).cast({"k": pl.UInt8, "g": pl.Int16}),
}

FORMULAS = [
    "y ~ x * f + (1 + x | g)",
    "y ~ size + k + b + small + single + (size || h)",
    "np.log(y) ~ I(small^2) + np.log(`my x`) + (1 | g / h) + (1 | size:b)",
    "sqrt(y) ~ bs(x, df=4) + poly(k, 2) + center(single) + (0 + f | h)",
    "y ~ C(k) + offset(np.log(scale)) + (1 | day) + (1 | C(h)) + (1 | {k % 3})",
]


def assert_same(one, other):
    """Assert that two designs are the same model."""
    np.testing.assert_allclose(one.endog, other.endog, rtol=1e-14)
    np.testing.assert_allclose(one.exog, other.exog, rtol=1e-10, atol=1e-12)
    assert (one.endog_name, one.exog_names) == (other.endog_name, other.exog_names)
    assert [term.name for term in one.terms] == [term.name for term in other.terms]
    for mine, yours in zip(one.terms, other.terms, strict=True):
        assert (mine.columns, mine.structure) == (yours.columns, yours.structure)
        assert list(mine.levels) == list(yours.levels)
        np.testing.assert_array_equal(mine.codes, yours.codes)
        np.testing.assert_allclose(mine.values, yours.values, rtol=1e-10, atol=1e-12)
    for mine, yours in ((one.weights, other.weights), (one.offset, other.offset)):
        assert (mine is None) == (yours is None)
        if mine is not None:
            np.testing.assert_allclose(mine, yours, rtol=1e-14)
