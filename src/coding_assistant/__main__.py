"""``python -m coding_assistant``."""

from coding_assistant.cli import main

if __name__ == "__main__":
    main()
