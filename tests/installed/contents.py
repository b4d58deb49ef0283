"""Check what the wheel and the sdist in a folder hold: python contents.py build/dist."""

import sys
import tarfile
import zipfile
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "sparselmm"
RUBBISH = ("tests/", "build/", "__pycache__", ".venv", ".hypothesis", ".pyc", ".nbi", ".nbc", "_cache/", ".git/")


def wheel(folder):
    """Return the names in the wheel."""
    (path,) = folder.glob("*.whl")
    return path, zipfile.ZipFile(path).namelist()


def sdist(folder):
    """Return the names in the sdist, without its folder."""
    (path,) = folder.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return path, [name.partition("/")[2] for name in archive.getnames()]


def check(path, names):
    """Raise AssertionError unless the names are those of the package, its data, its licence and nothing else."""
    files = [file.relative_to(PACKAGE.parent).as_posix() for file in PACKAGE.rglob("*") if file.is_file()]
    wanted = {name for name in files if not any(part in name for part in RUBBISH)}
    assert {"sparselmm/py.typed", "sparselmm/datasets/data/InstEval.csv.gz"} <= wanted
    assert wanted <= set(names), f"{path.name} lacks {sorted(wanted - set(names))}"
    assert any(name.endswith("LICENSE") for name in names), f"{path.name} lacks LICENSE"
    spoilt = [name for name in names if any(part in name for part in RUBBISH)]
    assert not spoilt, f"{path.name} holds {spoilt}"
    print(f"{path.name}: {len(names)} entries, {path.stat().st_size / 2**20:.1f} MB")


if __name__ == "__main__":
    for read in (wheel, sdist):
        check(*read(Path(sys.argv[1])))
