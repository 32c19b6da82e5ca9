"""What every test stands on: no way out of this machine, no settings of the user's, the real weights."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from support.loopback import LoopbackGuard
from support.weights import WeightsUnavailable, llama_cpp_models, smollm2

# No deadline, and slow is no fault: no test asserts a time. A fixture that all examples share is meant to be.
# CI runs the same examples each time; chance is for developers. Whoever changes a parser tries many more:
# --hypothesis-profile=thorough.
_PROPERTIES = hypothesis.settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.function_scoped_fixture,
    ],
)
hypothesis.settings.register_profile("developer", _PROPERTIES)
hypothesis.settings.register_profile("ci", _PROPERTIES, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("thorough", _PROPERTIES, max_examples=2_000)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "developer")

collect_ignore = ["fixtures"]  # code to be read by the product

_GUARD = LoopbackGuard()


def pytest_configure() -> None:
    _GUARD.install()


# What importing and collecting make, a million objects, stays until the end. To go through it for garbage
# again and again took 4 of the unit tests' 53 s of processor time. What tests leave behind is still found.
def pytest_collection() -> None:
    gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def loopback_guard() -> Iterator[LoopbackGuard]:
    """Fail a test that tries to reach another machine, whichever thread did."""
    with _GUARD.watching():
        yield _GUARD


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run the asynchronous tests on the loop that the product runs on, and on no other."""
    return "asyncio"


@pytest.fixture(scope="session")
def weights_folder() -> str | None:
    """The folder that the developer named for weights, if any."""
    return os.environ.get("CODING_ASSISTANT_TEST_WEIGHTS")


@pytest.fixture(scope="session", autouse=True)
def own_settings(weights_folder: str | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the user's settings and conversations from the suite, and from the processes that it starts."""
    del weights_folder  # asked for only so that it is read before the environment is cleaned
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("CODING_ASSISTANT_") or name in {"MODEL_NAME", "DATABASE_URL"}:
                patch.delenv(name)
        patch.setenv("CODING_ASSISTANT_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("CODING_ASSISTANT_MODEL_STORES", "none")  # nor the models that other programs have here
        yield


@pytest.fixture(name="smollm2", scope="session")
def smollm2_file(weights_folder: str | None) -> Path:
    """The SmolLM2-135M file; without it, each test that asks for it is skipped with the reason."""
    try:
        return smollm2(weights_folder)
    except WeightsUnavailable as reason:
        pytest.skip(f"no weights for the real engine: {reason}")


@pytest.fixture(name="llama_cpp_models", scope="session")
def llama_cpp_models_folder() -> Path:
    """The families' real vocabularies and templates; without them, each test that asks is skipped."""
    try:
        return llama_cpp_models()
    except WeightsUnavailable as reason:
        pytest.skip(f"no vocabularies of the families: {reason}")
