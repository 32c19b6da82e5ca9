"""Run as a script: loads the model named on the command line, says so, and waits to be killed.

A second name is that of the ``llama-server`` which is to run it.
"""

import sys
from pathlib import Path

import anyio

if __name__ == "__main__":  # support is importable only then: a script's own folder is what Python looks in
    sys.path.insert(0, str(Path(__file__).parents[1]))

from coding_assistant.inference.engine_programs import BUNDLED, ProgramSearch
from support.llama_engines import llama_engine


async def own(file: Path, program: str) -> None:
    engine = llama_engine(file, prompt_format="llama2", programs=ProgramSearch(program))
    await engine.load()
    print("loaded", flush=True)  # noqa: T201 -- what the test waits for
    await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(own, Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else BUNDLED)
