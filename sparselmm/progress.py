"""Progress of long work: rows read, evaluations of the likelihood, conjugate-gradient iterations (tqdm)."""

from __future__ import annotations

from typing import Any, Self, TextIO

ROWS = "{desc}: {n_fmt} rows [{elapsed}, {rate_fmt}]"
ROWS_OF = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} rows [{elapsed}<{remaining}, {rate_fmt}]"
FIT = "{desc}: evaluation {n_fmt} [{elapsed}]{postfix}"


class Progress:
    """Bars on standard error while the block runs, or nothing.

    Parameters
    ----------
    shown : bool
        Whether to show them; needs tqdm.

    Raises
    ------
    ImportError
        If tqdm is missing.
    """

    def __init__(self, shown: bool = False) -> None:
        self._tqdm = _tqdm() if shown else None
        self._bar: Any = None
        self._deviance: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = self._deviance = None

    def rows(self, total: int | None = None) -> None:
        """Start a bar of rows, of `total` if that is known."""
        if self._tqdm:
            self._close()
            form = ROWS if total is None else ROWS_OF
            self._bar = self._tqdm(desc="Reading", total=total, unit="", unit_scale=True, bar_format=form)

    def add_rows(self, count: int) -> None:
        """Count further rows as read."""
        if self._tqdm:
            self._bar.update(count)

    def note(self, text: str) -> None:
        """Show a line of text."""
        if self._tqdm:
            self._tqdm.write(text, file=_standard_error())

    def step(self, deviance: float, gradient_norm: float | None = None) -> None:
        """Count an evaluation of the likelihood, or add the gradient's norm to the last one."""
        if not self._tqdm:
            return
        if self._deviance is None:
            self._close()
            self._bar = self._tqdm(desc="Fitting", bar_format=FIT, mininterval=0.0)
        if gradient_norm is None:
            self._bar.update()
        self._deviance = f"deviance {deviance:,.3f}" + ("" if gradient_norm is None else f", |g| {gradient_norm:.1e}")
        self._bar.set_postfix_str(self._deviance)

    def iterations(self, count: int) -> None:
        """Show the number of conjugate-gradient iterations of the solve at work."""
        if self._tqdm and self._deviance is not None:
            self._bar.set_postfix_str(f"{self._deviance}, CG iteration {count}")


SILENT = Progress()


def _tqdm() -> Any:
    """Return tqdm's bar, or raise with the remedy."""
    try:
        from tqdm import tqdm
    except ImportError:
        raise ImportError("progress=True needs tqdm: pip install tqdm.") from None
    return tqdm


def _standard_error() -> TextIO:
    import sys

    return sys.stderr
