"""The same as matrix.py for an asyncio client: rows and attempts are coroutines, and all rows run in one event loop."""

import asyncio
import sys
import time

import matrix
from matrix import BOOTSTRAP, LIMIT, PREFIX, brief, same

ROW_LIMIT = 3 * LIMIT  # seconds; a row that takes longer is reported by its name


async def until(what, attempt):
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        found = await attempt()
        if found is not None and found is not False:
            return found
    raise AssertionError(f'after {LIMIT} seconds not yet: {what}')


async def refused(kind, answer):
    """The awaitable must fail with this kind of error, which is returned."""
    try:
        answer = await answer
    except kind as error:
        return error
    raise AssertionError(f'not refused: {brief(answer)}')


def play(rows):
    """`rows` has a coroutine function for each row, or the reason why the client cannot play it."""

    async def one(row):
        play_it = rows[row]
        if isinstance(play_it, str):
            return matrix.none(row, play_it)
        try:
            await asyncio.wait_for(play_it(), ROW_LIMIT)
            matrix.ok(row)
        except Exception as error:
            matrix.failed(row, error)

    async def everything():
        await asyncio.gather(*map(one, sys.argv[1:]))

    asyncio.run(everything())


async def not_written():
    matrix.not_written()
