"""Write the revision that brings the schema to the models: new_migration.py 0002 "what it adds"

Read it before committing it. `new_migration.py --initial` writes the first revision anew, which is
right only as long as no released version has made a state with it; it refuses where others stand upon it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from alembic import command
from sqlalchemy import create_engine

from shieldwall.state.migrate import FOLDER, configuration

INITIAL = "0001"


def later_revisions(versions: Path) -> list[Path]:
    return sorted(path for path in versions.glob("*.py") if not path.name.startswith(f"{INITIAL}_"))


def main(arguments: list[str]) -> None:
    initial = arguments == ["--initial"]
    if not initial and len(arguments) != 2:
        sys.exit(__doc__)
    number, message = (INITIAL, "The first schema.") if initial else arguments
    versions = FOLDER / "versions"
    if initial:
        if later := [path.name for path in later_revisions(versions)]:
            sys.exit(f"refused: these stand upon the first revision: {', '.join(later)}")
        for old in versions.glob(f"{INITIAL}_*.py"):
            old.unlink()
    with tempfile.TemporaryDirectory() as scratch:
        engine = create_engine(f"sqlite:///{scratch}/state.db")
        with engine.connect() as connection, connection.begin():
            settings = configuration(connection)
            # Only changes of existing tables need SQLite's way round.
            settings.attributes["batch"] = not initial
            settings.set_main_option("file_template", f"{number}_{'initial' if initial else '%%(slug)s'}")
            command.upgrade(settings, "head")
            command.revision(settings, message, autogenerate=True, rev_id=number)
        engine.dispose()
    ruff = Path(sys.executable).with_name("ruff")
    subprocess.run([ruff, "format", "--quiet", versions], check=True)
    subprocess.run([ruff, "check", "--quiet", "--fix", versions], check=True)
    print(*sorted(path.name for path in versions.glob("*.py")))


if __name__ == "__main__":
    main(sys.argv[1:])
