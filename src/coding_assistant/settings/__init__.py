"""Everything that a user can set, read once at the edge.

Defaults < ``config.toml`` < ``.env`` < environment < flags. Both files lie in the data directory, never
in the project that is asked about: a cloned repository must not configure the program that reads it.
Nothing below the assistant can import this module, so everything there is a function of its arguments.
"""

from coding_assistant.settings.model import (
    AUTOMATIC,
    MODELS_FILE,
    NO_EMBEDDER,
    OPENAI,
    SENTENCE_TRANSFORMERS,
    STATIC_EMBEDDER,
    Settings,
)
from coding_assistant.settings.reading import (
    CONFIG_FILE,
    DOTENV_FILE,
    home_folder,
    load_settings,
    variable_of,
)

__all__ = [
    "AUTOMATIC",
    "CONFIG_FILE",
    "DOTENV_FILE",
    "MODELS_FILE",
    "NO_EMBEDDER",
    "OPENAI",
    "SENTENCE_TRANSFORMERS",
    "STATIC_EMBEDDER",
    "Settings",
    "home_folder",
    "load_settings",
    "variable_of",
]
