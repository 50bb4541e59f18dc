"""Find the order of the layers in a state dict, which contains names and shapes, but not the order.

A state dict read from a file is often sorted by name, so its own order means nothing. The order is taken from the
names if they determine it, and otherwise from the shapes if the layers fit together in only one order. In all other
cases, the caller has to pass the order.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from fastbp.errors import InputError, brief, truncate

Shape = tuple[int, int]  # (n_out, n_in), the shape of the layer's weights

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ORDINALS = ("", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_NUMBER_OF = {word: n for words in (_NUMBERS, _ORDINALS) for n, word in enumerate(words) if word}
_AT_THE_START = {"in", "inp", "input", "inputs", "stem", "encoder", "enc"}
_AT_THE_END = {"out", "output", "outputs", "last", "final", "head", "classifier", "logits", "decoder", "dec"}
_CODERS = {"encoder", "enc", "decoder", "dec"}  # may have several layers; two layers "out" may be two heads
_WORD = re.compile(r"\d+|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+")
_MOST_PARTS = 50  # of a name like "encoder.0"
_MOST_STEPS = 10_000  # of the search for a second order


def sorted_layers(names: Sequence[str], shapes: Sequence[Shape]) -> list[str]:
    """Return the names of layers in the order in which they are applied.

    Raises `InputError` if neither the names nor the shapes determine it.

    >>> sorted_layers(["net.10", "net.2", "out"], [(3, 3), (3, 3), (3, 3)])
    ['net.2', 'net.10', 'out']
    >>> sorted_layers(["b", "a"], [(4, 5), (3, 4)])
    ['b', 'a']
    """
    shape_of = dict(zip(names, shapes, strict=True))
    by_names = _order_by_names(names)
    if by_names is not None and _fit([shape_of[name] for name in by_names]):
        return by_names
    orders = _orders_by_shapes(shapes)
    if len(orders) == 1:
        return [names[i] for i in orders[0]]
    if by_names is not None:
        return by_names  # the caller reports which layers do not fit
    found = "is not determined by their names and shapes" if orders else "is unknown: they do not fit in any order"
    layers = ", ".join(f"{brief(name)} ({n_in} to {n_out})" for name, (n_out, n_in) in shape_of.items())
    raise InputError(
        f"the order of the layers {found}; pass the model instead of its state dict, or order=[…] with the names of "
        f"the layers in order: {truncate(layers, 600)}"
    )


def _fit(shapes: Sequence[Shape]) -> bool:
    return all(before[0] == after[1] for before, after in pairwise(shapes))


def _order_by_names(names: Sequence[str]) -> list[str] | None:
    """Return the order that the names determine, or None.

    A name is a path like "encoder.0". Paths are ordered by their first parts. Paths with the same first part are
    ordered by the rest. Parts may differ only in a number, except that the first layer may be called "input" and the
    last layer "out", for example.
    """
    if len(names) == 1:
        return list(names)
    if any(name.count(".") >= _MOST_PARTS for name in names):
        return None
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.partition(".")[0], []).append(name)
    parts = _order_of_parts(list(groups))
    if parts is None:
        return None
    ordered: list[str] = []
    for part in parts:
        members = groups[part]
        inner = [name.partition(".")[2] for name in members]
        if len(members) == 1:
            ordered += members
        elif (rest := _order_by_names(inner) if all(inner) else None) is None:
            return None
        else:
            ordered += [f"{part}.{name}" for name in rest]
    return ordered


def _order_of_parts(parts: Sequence[str]) -> list[str] | None:
    """Return different parts of names in the order that they determine, or None if they determine no order."""
    start = [part for part in parts if _AT_THE_START & _words(part)]
    end = [part for part in parts if _AT_THE_END & _words(part)]
    middle = [part for part in parts if part not in start and part not in end]
    if set(start) & set(end) or not (_is_one_thing(start) and _is_one_thing(end)):
        return _order_by_number(parts)
    ordered = [_order_by_number(group) for group in (start, middle, end)]
    return [part for group in ordered for part in group or ()] if None not in ordered else None


def _is_one_thing(parts: Sequence[str]) -> bool:
    return len(parts) < 2 or all(_CODERS & _words(part) for part in parts)


def _order_by_number(parts: Sequence[str]) -> list[str] | None:
    """Return parts that differ only in their numbers, sorted by these numbers. Return None for other parts."""
    if len(parts) < 2:
        return list(parts)
    stems = {re.sub(r"\d+", "#", _with_digits(part)) for part in parts}
    numbers = {part: tuple(int(digits) for digits in re.findall(r"\d{1,9}", _with_digits(part))) for part in parts}
    if len(stems) > 1 or len(set(numbers.values())) < len(parts):
        return None
    return sorted(parts, key=numbers.__getitem__)


def _words(part: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(part)}


def _with_digits(part: str) -> str:
    """Return a part with digits in place of words for numbers: "layer_two" becomes "layer_2"."""
    return _WORD.sub(lambda match: str(_NUMBER_OF.get(match[0].lower(), match[0])), part)


def _orders_by_shapes(shapes: Sequence[Shape]) -> list[list[int]]:
    """Return two orders in which layers of these shapes fit together, or all orders if there are fewer.

    If the search takes too long, two lists are returned as well, so that the order counts as not determined.
    """
    after: dict[int, list[int]] = {}
    for i, (_, n_in) in enumerate(shapes):
        after.setdefault(n_in, []).append(i)
    found: list[list[int]] = []
    path: list[int] = []
    used = [False] * len(shapes)
    waiting: list[Iterator[int]] = [iter(_possible_starts(shapes))]
    for _ in range(_MOST_STEPS):
        i = next((i for i in waiting[-1] if not used[i]), -1)
        if i >= 0:
            used[i] = True
            path.append(i)
            waiting.append(iter(after.get(shapes[i][0], ())))
            if len(path) == len(shapes):
                found.append(list(path))
            continue
        waiting.pop()
        if not waiting or len(found) == 2:
            return found
        used[path.pop()] = False
    return [*found, [], []][:2]


def _possible_starts(shapes: Sequence[Shape]) -> list[int]:
    """Return the layers that may be the first one.

    Each layer except the first one takes the outputs of another layer. So if more layers have k inputs than k outputs,
    the first layer has k inputs.
    """
    surplus: dict[int, int] = {}
    for n_out, n_in in shapes:
        surplus[n_in] = surplus.get(n_in, 0) + 1
        surplus[n_out] = surplus.get(n_out, 0) - 1
    starts = {width for width, count in surplus.items() if count > 0}
    return [i for i, (_, n_in) in enumerate(shapes) if not starts or n_in in starts]
