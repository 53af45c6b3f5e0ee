"""Install the other official clients that the tests run, beside the environment's own.

``python tests/search/clients/install.py [folder]``: Python 9, JavaScript 8 and 9.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

#: Inside the environment, which git ignores.
FOLDER = Path(sys.prefix) / "clients"


def main(folder: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-warn-conflicts", "--upgrade", "--target",
         str(folder / "python-9"), "elasticsearch>=9,<10"],
        check=True,
    )  # fmt: skip
    npm = shutil.which("npm")
    if npm is None:
        print("npm is not installed: the JavaScript clients are left out")
        return
    for version in ("8", "9"):
        target = folder / f"javascript-{version}"
        target.mkdir(parents=True, exist_ok=True)
        (target / "package.json").write_text("{}")
        subprocess.run(
            [
                npm,
                "install",
                "--silent",
                "--no-audit",
                "--no-fund",
                f"@elastic/elasticsearch@{version}",
            ],
            check=True,
            cwd=target,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
