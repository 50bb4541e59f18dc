"""Threefry-2x32, a counter-based generator of random numbers, and the masks of dropout that are made from them.

A word depends only on the key and the counter. So it can be computed anywhere, in any order, and computed again. The
words are integers from 0 to 2³² − 1. Here, their type has 64 bits, because not every array library has arithmetic in
uint32: the functions work on Python's integers, and on int64 arrays of any library. In compiled code, `low_word` is
replaced by a conversion to uint32, and all arithmetic has 32 bits.

There are 13 rounds. The authors, in `threefry.h` of their library Random123, know of no statistical flaw with 13 or
more rounds. With 20 rounds, their default, a mask would take 1.5 times as long.

Reference: J. Salmon, M. Moraes, R. Dror, D. Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011.
"""

from typing import Any

Words = Any
_PARITY = 0x1BD11BDA


def low_word(x: Words) -> Words:
    """Return the low 32 bits of an integer.

    >>> low_word(2**32 + 7)
    7
    """
    return x & 0xFFFFFFFF


def threefry_2x32(key_0: Words, key_1: Words, counter_0: Words, counter_1: Words) -> tuple[Words, Words]:
    """Return two random words for a key of two words and a counter of two words.

    >>> [hex(word) for word in threefry_2x32(0, 0, 0, 0)]
    ['0x9d1c5ec6', '0x8bd50731']
    """
    key_0, key_1 = low_word(key_0), low_word(key_1)
    key_2 = low_word(key_0 ^ key_1 ^ _PARITY)
    x, y = low_word(counter_0 + key_0), low_word(counter_1 + key_1)
    x, y = _four_rounds_a(x, y)
    x, y = low_word(x + key_1), low_word(y + key_2 + 1)
    x, y = _four_rounds_b(x, y)
    x, y = low_word(x + key_2), low_word(y + key_0 + 2)
    x, y = _four_rounds_a(x, y)
    x, y = low_word(x + key_0), low_word(y + key_1 + 3)
    return _round(x, y, 17)


def kept_units(
    threshold: Words, key_0: Words, key_1: Words, j: Words, example: Words
) -> tuple[Words, Words, Words, Words]:
    """Return whether dropout keeps the units j, j + q, j + 2q and j + 3q of a layer, where q is a quarter of its units.

    The number of units is divided by 4 and rounded up. The four units have the four halves of the words for the counter
    (j, example). A half is a number from 0 to 2¹⁶ − 1. A unit is kept if its half is at least `threshold`, which must
    be below 2¹⁶.

    >>> [hex(word) for word in threefry_2x32(1, 2, 3, 4)]
    ['0x5820d661', '0xae46fc9d']
    >>> kept_units(0xAE46, 1, 2, 3, 4)
    (True, False, True, True)
    """
    word_0, word_1 = threefry_2x32(key_0, key_1, j, low_word(example))
    # The low half is moved up, not the high half down, so that compiled code compares whole words.
    limit = low_word(threshold << 16)
    return low_word(word_0 << 16) >= limit, word_0 >= limit, low_word(word_1 << 16) >= limit, word_1 >= limit


def _four_rounds_a(x: Words, y: Words) -> tuple[Words, Words]:
    x, y = _round(x, y, 13)
    x, y = _round(x, y, 15)
    x, y = _round(x, y, 26)
    return _round(x, y, 6)


def _four_rounds_b(x: Words, y: Words) -> tuple[Words, Words]:
    x, y = _round(x, y, 17)
    x, y = _round(x, y, 29)
    x, y = _round(x, y, 16)
    return _round(x, y, 24)


def _round(x: Words, y: Words, rotation: int) -> tuple[Words, Words]:
    x = low_word(x + y)
    return x, low_word(x ^ (low_word(y << rotation) | low_word(y >> (32 - rotation))))
