"""Large data sets, drawn in chunks of rows: crossed ratings, and panels of workers in firms.

They have what makes real ones hard: degrees and firm sizes are log-normal, factors are tied together in communities,
there are levels with one row. Every level occurs. A chunk and the levels are in memory; for ratings, whose pairs are
distinct, also the pairs drawn so far (10 to 21 bytes each).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit
from peers.protocol import memory_mb

CHUNK = 1 << 20  # rows; part of the draw: another size gives other data


class Weighted:
    """Draws members of groups in proportion to weights by alias tables (Walker 1977; Vose 1991), one for each group.

    Groups are numbered from 0, none is empty; by default there is one.
    """

    def __init__(self, weights, groups=None):
        groups = np.zeros(weights.size, np.int32) if groups is None else groups
        self._order = np.argsort(groups, kind="stable").astype(np.int32)
        self._sizes = np.bincount(groups)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self.totals = np.bincount(groups, weights)
        shares = weights[self._order] * (self._sizes / self.totals)[groups[self._order]]
        self._keep, self._alias = alias_tables(shares, self._starts, self._sizes)

    def draw(self, rng, groups):
        """Return a member of each of the groups, int32; `groups` may be a number of draws if there is one group."""
        if np.ndim(groups) == 0:
            groups = np.zeros(groups, np.int32)
        place = rng.random(groups.size) * self._sizes[groups]
        inside = place.astype(np.int32)
        at = self._starts[groups] + inside
        return self._order[np.where(place - inside < self._keep[at], at, self._alias[at])]


@njit(cache=True)
def alias_tables(shares, starts, sizes):
    """Return for every place the probability to keep it and the place taken otherwise; shares have mean one."""
    keep, alias = shares.copy(), np.arange(shares.size)
    for start, size in zip(starts, sizes):  # noqa: B905
        small = [k for k in range(start, start + size) if keep[k] < 1.0]
        large = [k for k in range(start, start + size) if keep[k] >= 1.0]
        while len(small) and len(large):
            few, much = small.pop(), large[-1]
            alias[few] = much
            keep[much] -= 1.0 - keep[few]
            if keep[much] < 1.0:
                small.append(large.pop())
    return keep, alias


@njit(cache=True)
def first_seen(table, keys, most):
    """Return the keys that are not in the open-addressing table, at most so many, and enter them."""
    mask, out, count = np.uint64(table.size - 1), np.empty(min(most, keys.size), np.int64), 0
    for key in keys:
        if count == most:
            break
        at = ((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & mask
        while table[at] >= 0 and table[at] != key:
            at = (at + np.uint64(1)) & mask
        if table[at] < 0:
            table[at] = key
            out[count] = key
            count += 1
    return out[:count]


def communities_of(rng, size, communities):
    """Return the community of each of so many levels, of unequal sizes and none empty."""
    home = rng.choice(communities, size, p=rng.dirichlet(np.full(communities, 4.0)))
    home[rng.permutation(size)[:communities]] = np.arange(min(size, communities))
    return home


@dataclass(frozen=True)
class Ratings:
    """Distinct (user, item) pairs in random order, y = 3.5 + user + item + noise.

    Log-normal degrees of users and items; a user takes 70 to 95 % of the ratings from the own community. A share `rare`
    of the users has one rating.
    """

    rows: int
    users: int
    items: int
    communities: int = 8
    rare: float = 0.05
    seed: int = 3

    formula = "y ~ 1 + (1 | u) + (1 | i)"
    theta = (0.45 / 0.9, 0.5 / 0.9)  # the truth

    @property
    def levels(self) -> dict[str, int]:
        """Number of levels of each factor."""
        return {"u": self.users, "i": self.items}

    def chunks(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield the columns y, u, i of some rows at a time."""
        rng = np.random.default_rng(self.seed)
        user_home, item_home = (communities_of(rng, size, self.communities) for size in (self.users, self.items))
        loyalty = rng.uniform(0.7, 0.95, self.users)
        weights = rng.lognormal(0.0, 1.1, self.users)
        weights[rng.permutation(self.users)[: int(self.rare * self.users)]] = 0.0
        users = Weighted(weights)
        items = Weighted(rng.lognormal(0.0, 1.8, self.items), item_home)
        elsewhere = Weighted(items.totals)
        effects = [sd * rng.standard_normal(size) for sd, size in ((0.45, self.users), (0.5, self.items))]

        def rated_by(u):
            where = np.where(rng.random(u.size) < loyalty[u], user_home[u], elsewhere.draw(rng, u.size))
            return u * np.int64(self.items) + items.draw(rng, where)

        every_item = users.draw(rng, self.items) * np.int64(self.items) + np.arange(self.items)
        cover = rng.permutation(np.r_[rated_by(np.arange(self.users)), every_item])
        table = np.full(1 << int(np.ceil(np.log2(1.3 * self.rows))), -1, np.int64)
        for start in range(0, self.rows, CHUNK):
            count = min(CHUNK, self.rows - start)
            part = slice(cover.size * start // self.rows, cover.size * (start + count) // self.rows)
            keys = first_seen(table, cover[part], count)
            while keys.size < count:
                missing = count - keys.size
                keys = np.r_[keys, first_seen(table, rated_by(users.draw(rng, missing + missing // 8 + 64)), missing)]
            u, i = np.divmod(rng.permutation(keys), self.items)
            y = 3.5 + effects[0][u] + effects[1][i] + 0.9 * rng.standard_normal(count)
            yield {"y": y, "u": u.astype(np.int32), "i": i.astype(np.int32)}


@dataclass(frozen=True)
class Panel:
    """Workers over `years` in firms of log-normal size, rows by worker, y = x/2 - z/5 + worker + firm + noise.

    A share `move` of the workers changes the firm each year, 95 % of them within the community. Few moves and small
    firms leave a sparse graph that hardly tells workers from firms.
    """

    workers: int
    firms: int
    years: int = 10
    move: float = 0.12
    communities: int = 50
    seed: int = 1

    formula = "y ~ x + z + (1 | w) + (1 | f)"
    theta = (1.0 / 0.5, 0.7 / 0.5)  # the truth

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.workers * self.years

    @property
    def levels(self) -> dict[str, int]:
        """Number of levels of each factor."""
        return {"w": self.workers, "f": self.firms}

    def chunks(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield the columns y, x, z, w, f of some workers at a time."""
        rng = np.random.default_rng(self.seed)
        home = communities_of(rng, self.workers, self.communities)
        firm_home = communities_of(rng, self.firms, self.communities)
        firms = Weighted(rng.lognormal(0.0, 1.2, self.firms), firm_home)
        elsewhere = Weighted(firms.totals)
        worker_effect, firm_effect = rng.standard_normal(self.workers), 0.7 * rng.standard_normal(self.firms)
        first = np.full(self.workers, -1, np.int32)  # the firm that a worker founds
        founders = rng.permutation(self.workers)[: self.firms]
        first[founders], home[founders] = np.arange(self.firms), firm_home
        for start in range(0, self.workers, CHUNK // self.years):
            w = np.arange(start, min(start + CHUNK // self.years, self.workers), dtype=np.int32)
            f = np.empty((w.size, self.years), np.int32)
            f[:, 0] = np.where(first[w] >= 0, first[w], firms.draw(rng, home[w]))
            for t in range(1, self.years):
                f[:, t] = f[:, t - 1]
                moving = np.flatnonzero(rng.random(w.size) < self.move)
                stays = rng.random(moving.size) < 0.95
                f[moving, t] = firms.draw(rng, np.where(stays, home[w[moving]], elsewhere.draw(rng, moving.size)))
            w, f = np.repeat(w, self.years), f.ravel()
            x, z, noise = rng.standard_normal((3, w.size))
            y = 0.5 * x - 0.2 * z + worker_effect[w] + firm_effect[f] + 0.5 * noise
            yield {"y": y, "x": x, "z": z, "w": w, "f": f}


def write_columns(shape, directory: Path) -> None:
    """Write the columns as the peers read them (see peers/protocol.py), chunk after chunk."""
    files = {}
    for chunk in shape.chunks():
        for name, values in chunk.items():
            file = files.setdefault(name, (directory / f"{len(files)}.bin").open("wb"))
            values.astype("<i4" if name in shape.levels else "<f8").tofile(file)
    entries = [{"name": name, "file": Path(file.name).name} for name, file in files.items()]
    for entry, file in zip(entries, files.values(), strict=True):
        file.close()
        if entry["name"] in shape.levels:
            entry["levels"] = [str(code) for code in range(shape.levels[entry["name"]])]
    (directory / "columns.json").write_text(json.dumps({"rows": shape.rows, "columns": entries}))


def write_parquet(shape, path: Path) -> None:
    """Write the columns as one Parquet file, a row group for each chunk."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    chunks = map(pa.table, shape.chunks())
    first = next(chunks)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for chunk in chunks:
            writer.write_table(chunk)


SHAPES = {
    "ratings-100k": Ratings(100_000, 943, 1_682),
    "ratings-300k": Ratings(300_000, 2_390, 2_500),
    "ratings-1M": Ratings(1_000_000, 6_040, 3_706),
    "ratings-3M": Ratings(3_000_000, 18_600, 9_530),
    "ratings-10M": Ratings(10_000_000, 63_600, 26_800),
    "ratings-25M": Ratings(25_000_000, 162_541, 59_047),
    "ratings-50M": Ratings(50_000_000, 325_000, 107_000),
    "ratings-100M": Ratings(100_000_000, 480_000, 17_770),
    "stream-1e8": Ratings(100_000_000, 1_000_000, 10_000),
    "panel-100k": Panel(10_000, 1_000),
    "panel-300k": Panel(30_000, 3_000),
    "panel-1M": Panel(100_000, 10_000),
    "panel-2M": Panel(200_000, 20_000),
    "panel-5M": Panel(500_000, 50_000),
    "panel-10M": Panel(1_000_000, 100_000),
    "panel-20M": Panel(2_000_000, 200_000),
    "panel-50M": Panel(5_000_000, 500_000),
    "ratings-tiny": Ratings(20_000, 600, 450),
    "panel-tiny": Panel(2_000, 400, communities=10),
    "stream-tiny": Ratings(20_000, 600, 450),
}


def main() -> None:
    """Write the shape named first to the directory named second, as columns or (names in *.parquet) as Parquet."""
    shape, path = SHAPES[sys.argv[1]], Path(sys.argv[2])
    next(SHAPES["ratings-tiny"].chunks())  # compiles
    begin = time.perf_counter()
    if path.suffix == ".parquet":
        write_parquet(shape, path)
    else:
        path.mkdir(parents=True, exist_ok=True)
        write_columns(shape, path)
    print(json.dumps({"seconds": time.perf_counter() - begin, "peak_mb": memory_mb("VmHWM")}))


if __name__ == "__main__":
    main()
