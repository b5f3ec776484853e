"""Virtual environments of the peers: ``python -m benchmarks.environments [DIRECTORY]``.

Each has its own, from the registry, so none decides what another runs with.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from .measuring import PEERS

WHERE = Path("build/peers")


def main() -> None:
    """Make those that are missing, and say which could not be made."""
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else WHERE
    for name in PEERS:
        if (where / name).exists():
            print(f"{name}: is there")
            continue
        venv.create(where / name, with_pip=True)
        python = where / name / "bin" / "python"
        done = subprocess.run([python, "-m", "pip", "install", "--quiet", name], check=False)
        print(f"{name}: {'installed' if done.returncode == 0 else 'cannot be installed'}")


if __name__ == "__main__":
    main()
