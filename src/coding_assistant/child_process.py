"""What the processes that are started here must not inherit. Knows nothing of what they do."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_IMPORT_PATH: Final = "PYTHONPATH"

# Settings, among them a key: no child reads any, and whoever may look at a child's environment could.
_SETTINGS_PREFIX: Final = "CODING_ASSISTANT_"


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a Python that imports nothing from the working directory, without settings.

    The working directory is often a repository that nobody vouches for. ``-P`` alone does not keep it off the
    import path: an empty or relative entry of PYTHONPATH means it, too, and these are left out.
    """
    kept = [
        entry for entry in environment.get(_IMPORT_PATH, "").split(os.pathsep) if Path(entry).is_absolute()
    ]
    others = {
        name: value
        for name, value in environment.items()
        if name != _IMPORT_PATH and not name.upper().startswith(_SETTINGS_PREFIX)
    }
    return {**others, _IMPORT_PATH: os.pathsep.join(kept)} if kept else others
