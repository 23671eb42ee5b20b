"""Calls that wait for the same database go together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from glowplug.errors import InvalidInput, Unreachable
from glowplug.stores.gathering import MOST_CALLS, Gathering


class Database:
    """Doubles what it is given, once it is let; a number below zero is wrong."""

    def __init__(self) -> None:
        self.runs: list[list[int]] = []
        self.open = asyncio.Event()
        self.away = False

    async def run(self, items: Sequence[int]) -> list[int]:
        self.runs.append(list(items))
        await self.open.wait()
        if self.away:
            raise Unreachable("away")
        if any(item < 0 for item in items):
            raise InvalidInput("negative")
        return [2 * item for item in items]


@pytest.fixture
def database() -> Database:
    return Database()


def calls(gathering: Gathering[int, int], *items: list[int]) -> list[asyncio.Task[list[int]]]:
    return [asyncio.create_task(gathering.add(one)) for one in items]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_comes_while_one_is_under_way_goes_together_in_the_next(database: Database) -> None:
    gathering = Gathering(database.run)
    first = calls(gathering, [1])
    await settle()
    later = calls(gathering, [2, 3], [4], [])
    await settle()
    database.open.set()
    assert await asyncio.gather(*first, *later) == [[2], [4, 6], [8], []]
    assert database.runs == [[1], [2, 3, 4]]


async def test_nothing_waits_for_company(database: Database) -> None:
    database.open.set()
    gathering = Gathering(database.run)
    assert await gathering.add([1]) == [2]
    assert await gathering.add([2]) == [4]
    assert database.runs == [[1], [2]]


async def test_one_call_cannot_spoil_its_neighbours(database: Database) -> None:
    gathering = Gathering(database.run)
    first = calls(gathering, [1])
    await settle()
    good, bad, other = calls(gathering, [2], [-1], [3])
    await settle()
    database.open.set()
    assert (await first[0], await good, await other) == ([2], [4], [6])
    with pytest.raises(InvalidInput):
        await bad


async def test_a_server_that_is_away_is_not_asked_again_for_each(database: Database) -> None:
    gathering = Gathering(database.run)
    first = calls(gathering, [1])
    await settle()
    later = calls(gathering, [2], [3])
    await settle()
    database.away = True
    database.open.set()
    answers = await asyncio.gather(*first, *later, return_exceptions=True)
    assert all(isinstance(answer, Unreachable) for answer in answers)
    assert database.runs == [[1], [2, 3]]


async def test_a_call_that_is_given_up_before_its_turn_is_left_out(database: Database) -> None:
    gathering = Gathering(database.run)
    first = calls(gathering, [1])
    await settle()
    gone, stays = calls(gathering, [2], [3])
    await settle()
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    database.open.set()
    assert (await first[0], await stays) == ([2], [6])
    assert database.runs == [[1], [3]]


async def test_one_that_is_given_up_in_its_turn_harms_no_other(database: Database) -> None:
    gathering = Gathering(database.run)
    gone = calls(gathering, [1])[0]
    await settle()
    gone.cancel()
    stays = calls(gathering, [2])[0]
    await settle()
    database.open.set()
    assert await stays == [4]
    assert await gathering.add([5]) == [10]


async def test_a_crowd_goes_in_parts(database: Database) -> None:
    gathering = Gathering(database.run)
    crowd = calls(gathering, *([number] for number in range(2 * MOST_CALLS)))
    await settle()
    database.open.set()
    assert [answer for (answer,) in await asyncio.gather(*crowd)] == [2 * number for number in range(2 * MOST_CALLS)]
    assert max(map(len, database.runs)) == MOST_CALLS
