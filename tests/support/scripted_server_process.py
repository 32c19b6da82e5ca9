"""A program: a server with a scripted engine, for tests that send it signals and read what it logs.

``python scripted_server_process.py HOME PROJECT``: prints its URL, and ``stopped`` when all is closed. It
logs everything that anything logs. An answer waits for ever before its first word.
"""

import asyncio
import logging
import sys
from pathlib import Path

from coding_assistant.assistant import AsyncAssistant
from coding_assistant.settings import Settings
from coding_assistant.web.server import serve
from support.scripted_engine import Script, ScriptedEngine, only


async def run(home: Path, project: Path) -> None:
    engine = ScriptedEngine(Script(waits=True))
    async with AsyncAssistant.open(Settings(home=home), make_engine=only(engine)) as assistant:
        await assistant.add_project(str(project))
        await serve(assistant, host="127.0.0.1", port=0, announce=say)
    say("stopped")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG)
    asyncio.run(run(Path(sys.argv[1]), Path(sys.argv[2])))
