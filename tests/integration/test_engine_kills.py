"""The engine is killed under a running service: who asked is told, nothing is lost, the next turn works."""

import random
from pathlib import Path

import anyio
import pytest

from conversations_bench.service import product_service, running
from endurance_bench.crashes import kill_engine
from support.http_server import make_project

pytestmark = pytest.mark.model

ROUNDS = 4  # while it is loaded, reads, is loaded, writes


def test_the_service_outlives_every_death_of_its_engine(tmp_path: Path, smollm2: Path) -> None:
    service = product_service(
        home=tmp_path / "home", project=make_project(tmp_path), model=str(smollm2), settings={}
    )

    async def kill() -> list[str]:
        chance = random.Random(3)  # noqa: S311  -- moments, not secrets
        return (await kill_engine(service, rounds=ROUNDS, longest_seconds=0.3, chance=chance)).violations

    with running(service):
        assert anyio.run(kill) == []
