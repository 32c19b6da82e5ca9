"""Run as a script: loads the model named on the command line, says so, and waits to be killed."""

import sys
from pathlib import Path

import anyio

if __name__ == "__main__":  # support is importable only then: a script's own folder is what Python looks in
    sys.path.insert(0, str(Path(__file__).parents[1]))

from support.llama_engines import llama_engine


async def own(file: Path) -> None:
    engine = llama_engine(file, prompt_format="llama2")
    await engine.load()
    print("loaded", flush=True)  # noqa: T201 -- what the test waits for
    await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(own, Path(sys.argv[1]))
