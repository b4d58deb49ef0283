"""Dask data frames as sources: on a dask.distributed cluster, a task for each partition and a tree of their sums."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

from cloudpickle import dumps
from dask import delayed
from dask.sizeof import sizeof

from ..threads import single_threaded
from .lazy import Partitions
from .plan import Plan, Sums
from .sources import CHUNK_ROWS, pieces
from .wire import check_portable

if TYPE_CHECKING:
    import dask.dataframe
    import pandas as pd
    from distributed import Client

    from ..progress import Progress


def open_dask(frame: dask.dataframe.DataFrame) -> Partitions:
    """Return the source of a Dask data frame: on the cluster of the current client, if there is one."""
    client = current_client()
    return Partitions(frame) if client is None else OnCluster(frame, client)


def current_client() -> Client | None:
    """Return the client of dask.distributed that is in use, None if there is none."""
    try:
        from distributed import default_client

        return default_client()
    except (ImportError, ValueError):
        return None


class OnCluster(Partitions):
    """A Dask data frame whose partitions are summed by the workers of a cluster."""

    def __init__(self, frame: dask.dataframe.DataFrame, client: Client) -> None:
        super().__init__(frame)
        self.client = client

    def sums(self, plan: Plan, shown: Progress) -> Sums:
        """Return the sums of all rows.

        Every task is a function of one partition or of two sums, so that what a lost worker held is computed again
        and no row is lost or counted twice. The order of the sums is that of the partitions, whoever takes them.
        """
        from distributed import as_completed

        check_portable(plan, dumps)
        shared = delayed(plan)  # travels once to each worker
        sums = [delayed(partition_sums)(shared, part) for part in self.frame[plan.columns].to_delayed()]
        rows = [delayed(n_rows)(part) for part in sums]
        while len(sums) > 1:
            sums = [delayed(added)(*sums[i : i + 2]) for i in range(0, len(sums), 2)]
        whole, *counts = self.client.compute([*sums, *rows])
        seen = as_completed(counts, with_results=True)
        del counts  # a count that was seen is not computed again
        try:
            for future, count in seen:
                del future  # an exception that holds this frame would hold its task
                shown.add_rows(count)
            return whole.result()
        finally:
            self.client.cancel([whole, *seen.futures])


@single_threaded
def partition_sums(plan: Plan, frame: pd.DataFrame) -> Sums:
    """Return the sums of one partition."""
    return Sums.total(plan.sums(piece) for piece in pieces(frame, plan.columns, CHUNK_ROWS))


def n_rows(sums: Sums) -> int:
    """Return the number of rows of sums."""
    return sums.facts.rows


@single_threaded
def added(*sums: Sums) -> Sums:
    """Return the sum of one or two sums."""
    return sums[0] if len(sums) == 1 else sums[0] + sums[1]


def _bytes(sums: Sums) -> int:
    """Return the bytes that sums hold, by which workers decide what moves and what is spilled."""
    arrays: list[pickle.PickleBuffer] = []
    rest = pickle.dumps(sums, protocol=5, buffer_callback=arrays.append)
    return len(rest) + sum(array.raw().nbytes for array in arrays)


sizeof.register(Sums, _bytes)
