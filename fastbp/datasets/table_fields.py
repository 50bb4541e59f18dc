"""Recognition of the fields of a table in text form: missing values, numbers, dates and times."""

import re
from collections.abc import Iterable

MISSING = frozenset(["", "?", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "None", "-nan", "<NA>"])
"""Fields that stand for a missing value in any column: the most common ones that pandas recognises, and "?"."""

MISSING_AMONG_NUMBERS = frozenset(["-", "--", "---", "–", "—", ".", "..", "...", "*", "missing", "#VALUE!", "#DIV/0!"])
"""Fields that stand for a missing value in a column whose other fields are numbers. In other columns, they are text."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity)", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_GROUPED = {
    decimal: re.compile(rf"[+-]?\d{{1,3}}([{comma}'’ \u00a0\u202f])\d{{3}}(\1\d{{3}})*({re.escape(decimal)}\d+)?")
    for decimal, comma in ((".", ","), (",", "."))
}
_UNIT = re.compile(r"([$€£¥]\s?)?[+-]?[\d.,' ]*\d(\s?[$€£¥%])?")
_TIME = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[AaPp]\.?[Mm]\.?)?")
_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DATE = re.compile(
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})|"
    rf"\d{{1,2}}\.?[ -]{_MONTH}[ -]\d{{2,4}}|{_MONTH} \d{{1,2}},? \d{{4}})"
    r"([ T]\d{1,2}:\d{2}.*)?",
    re.IGNORECASE,
)


def is_number(text: str) -> bool:
    """Return whether a field is a number, written with a decimal point.

    >>> is_number("-1.5e3"), is_number("1,5"), is_number("1_000")
    (True, False, False)
    """
    return _NUMBER.fullmatch(text) is not None


def has_decimal_comma(text: str) -> bool:
    """Return whether a field is a number with a decimal comma. It may also be one with a thousands separator.

    >>> has_decimal_comma("1,5"), has_decimal_comma("9,081"), has_decimal_comma("1.5")
    (True, True, False)
    """
    return _DECIMAL_COMMA.fullmatch(text) is not None


def is_grouped(text: str, decimal: str = ".") -> bool:
    """Return whether a field is a number with thousands separators: commas, points, apostrophes or spaces.

    `decimal` is the decimal mark of the table. It is not a thousands separator.

    >>> is_grouped("1,234,567.8"), is_grouped("1,23"), is_grouped("1.234,5", ","), is_grouped("9 081")
    (True, False, True, True)
    """
    return _GROUPED[decimal].fullmatch(text) is not None


def like_numbers(texts: Iterable[str], decimal: str = ".") -> bool:
    """Return whether all fields are numbers or missing, and at least one of them is a number.

    >>> like_numbers(["9,081", "-", "12"]), like_numbers(["9,081", "many"]), like_numbers(["-"])
    (True, False, False)
    """
    found = False
    for text in map(str.strip, texts):
        if text in MISSING or text in MISSING_AMONG_NUMBERS:
            continue
        if not (is_number(text.replace(",", ".") if decimal == "," else text) or is_grouped(text, decimal)):
            return False
        found = True
    return found


def number_in(text: str, decimal: str = ".") -> float:
    """Return the number in a field that `like_numbers` accepts, and NaN for a missing value.

    >>> number_in("1,234.5"), number_in("1.234,5", ","), number_in("-")
    (1234.5, 1234.5, nan)
    """
    text = text.strip()
    if text in MISSING or text in MISSING_AMONG_NUMBERS:
        return float("nan")
    if is_grouped(text, decimal):
        text = re.sub(rf"[^\d{decimal}+-]", "", text)
    return float(text.replace(decimal, "."))


def has_unit(text: str) -> bool:
    """Return whether a field is a number with the sign of a currency or of percent.

    >>> has_unit("$9.99"), has_unit("12 %"), has_unit("12"), has_unit("1st")
    (True, True, False, False)
    """
    match = _UNIT.fullmatch(text)
    return match is not None and any(match.groups())


def is_date(text: str) -> bool:
    """Return whether a field is a date, such as 2024-01-31, 31.01.2024, 1/31/24 or 31 Jan 2024.

    >>> is_date("2024-01-31 12:30"), is_date("Jan 31, 2024"), is_date("1.5")
    (True, True, False)
    """
    return _DATE.fullmatch(text) is not None


def is_time(text: str) -> bool:
    """Return whether a field is a time of day or a duration, such as 12:30 or 1:05:30 pm.

    >>> is_time("12:30"), is_time("1:05:30 pm"), is_time("12")
    (True, True, False)
    """
    return _TIME.fullmatch(text) is not None
