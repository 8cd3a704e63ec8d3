"""Shared by the programs of the Python clients: plays the rows in the arguments at the same time and prints a line for each."""

import os
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

BOOTSTRAP = os.environ['BOOTSTRAP']
PREFIX = os.environ['PREFIX']
LIMIT = 90  # seconds for one operation; generous, for busy machines

_printing = threading.Lock()


def until(what, attempt):
    """Repeats the attempt until its result is neither None nor False, and returns that. The attempt itself waits a little, as a poll does."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        found = attempt()
        if found is not None and found is not False:
            return found
    raise AssertionError(f'after {LIMIT} seconds not yet: {what}')


def same(expected, actual, what='it'):
    if expected != actual:
        raise AssertionError(f'{what}: expected {brief(expected)}, got {brief(actual)}')


def brief(value):
    text = repr(value)
    return text if len(text) <= 300 else f'{text[:300]}… ({len(text)} characters)'


def refused(kind, call, *arguments, **more):
    """The call must fail with this kind of error, which is returned."""
    try:
        answer = call(*arguments, **more)
    except kind as error:
        return error
    raise AssertionError(f'not refused: {call}: {brief(answer)}')


def ok(row):
    say('ok', row)


def failed(row, error):
    traceback.print_exception(error, file=sys.stderr)
    say('FAIL', row, f'{type(error).__name__}: {error}'.replace('\n', ' ')[:400])


def none(row, why):
    say('none', row, why)


def say(*words):
    with _printing:
        print(*words, flush=True)


def play(rows):
    """`rows` has a function for each row, or the reason why the client cannot play it."""

    def one(row):
        play_it = rows[row]
        if isinstance(play_it, str):
            return none(row, play_it)
        try:
            play_it()
            ok(row)
        except Exception as error:
            failed(row, error)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, sys.argv[1:]))


def not_written():
    raise NotImplementedError('not written yet')
