"""Writes the generated files: ``python -m gr2_bringup.description [--check]``, from the checkout."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gr2_bringup.description.cell_model import read_cell
from gr2_bringup.description.files import compare, generated, write


def main(arguments: list[str] | None = None) -> int:
    """Write or check; returns 1 where a file is not up to date."""
    parser = argparse.ArgumentParser(prog="python -m gr2_bringup.description", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; say which files are not up to date")
    parser.add_argument("--package", type=Path, default=Path("src/gr2_bringup"), help="folder of the package")
    given = parser.parse_args(arguments)
    files = generated(read_cell())
    if given.check:
        stale = compare(given.package, files)
        print("\n".join(stale) if stale else f"{len(files)} files are up to date")
        return 1 if stale else 0
    write(given.package, files)
    print(f"wrote {len(files)} files under {given.package}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
