"""The child process that fetches one file from the model hub.

    python -m coding_assistant.inference.hub_process REPOSITORY REVISION FILENAME TARGET [ENDPOINT]

A process of its own, because a blocked download can then be ended at any moment. It continues where TARGET
ends; ``hf_hub_download`` begins anew after an interruption, which for gigabytes is not an option. The user's
own settings of the hub (endpoint, token, proxy) hold. Prints nothing but the reason of a failure.
"""

import sys
from pathlib import Path

import httpx2
from filelock import FileLock
from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get


def main(arguments: list[str]) -> str | None:
    """Fetch the file; return why it failed, None when it is complete."""
    repository, revision, filename, target, *endpoint = arguments
    url = hf_hub_url(repository, filename, revision=revision, endpoint=endpoint[0] if endpoint else None)
    try:
        fetch(url, Path(target))
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        return " ".join(str(error).split())
    return None


def fetch(url: str, target: Path) -> None:
    """Complete ``target``. A file that is longer than the hub's is begun anew.

    The lock is against a process like this one whose parent was killed, and which still writes.
    """
    token = get_token()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    size = get_hf_file_metadata(url, token=token).size
    with FileLock(f"{target}.lock"), target.open("ab") as file:
        if size is not None and file.tell() > size:
            file.truncate(0)
        http_get(url, file, resume_size=file.tell(), headers=headers, expected_size=size)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
