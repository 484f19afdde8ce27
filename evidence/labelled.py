"""A labelled set for masking, made by a seed: values of known kinds in ordinary sentences, and look-alikes that are no
personal data. Values are made here, by no library that is to be measured."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from dataclasses import dataclass

BEFORE = ("Please note down ", "My friend wrote: ", "For the form I used ", "It says ", "They asked me for ", "Here: ")
AFTER = (" and that is all.", ", as far as I know.", " .", ", thank you", "; call it a day.", "")


@dataclass(frozen=True)
class Labelled:
    """A text with one value of a kind at ``start`` to ``end``; kind ``none`` where nothing is to be masked."""

    text: str
    kind: str
    form: str
    start: int
    end: int


def labelled(each: int, seed: int = 0) -> list[Labelled]:
    """``each`` texts of every form."""
    source, out = random.Random(seed), []
    for kind, forms in FORMS.items():
        for form, make in forms.items():
            for _ in range(each):
                before, value, after = source.choice(BEFORE), make(source), source.choice(AFTER)
                out.append(Labelled(before + value + after, kind, form, len(before), len(before) + len(value)))
    return out


def _digits(source: random.Random, count: int) -> str:
    return "".join(source.choice(string.digits) for _ in range(count))


def _word(source: random.Random, count: int, letters: str = string.ascii_lowercase) -> str:
    return "".join(source.choice(letters) for _ in range(count))


def _email(source: random.Random) -> str:
    host = source.choice(("example.com", "mail.example.org", "uni-koeln.de", "gov.uk", "company.co.jp"))
    return f"{_word(source, 6)}{source.choice('._-+')}{_word(source, 5)}@{host}"


def _phone(source: random.Random) -> str:
    area, line = (
        f"{source.choice('2346789')}{source.choice('0123456789')}{source.choice('23456789')}",
        _digits(source, 4),
    )
    exchange = f"{source.choice('23456789')}{_digits(source, 2)}"
    return source.choice((f"({area}) {exchange}-{line}", f"{area}-{exchange}-{line}", f"+1 {area} {exchange} {line}"))


def _abroad(source: random.Random) -> str:
    return source.choice(
        (
            f"+44 20 7{_digits(source, 3)} {_digits(source, 4)}",
            f"+49 30 {_digits(source, 8)}",
            f"+33 6 {' '.join(_digits(source, 2) for _ in range(4))}",
            f"+91 98{_digits(source, 3)} {_digits(source, 5)}",
        )
    )


def _luhn(body: str) -> str:
    total = 0
    for place, digit in enumerate(reversed(body)):
        double = int(digit) * (2 if place % 2 == 0 else 1)
        total += double - 9 if double > 9 else double
    return body + str(-total % 10)


def _card(source: random.Random) -> str:
    number = _luhn(source.choice("45") + source.choice("12345") + _digits(source, 13))
    gap = source.choice((" ", "-", ""))
    return gap.join(number[i : i + 4] for i in range(0, 16, 4))


def _iban(source: random.Random) -> str:
    country, body = source.choice((("DE", _digits(source, 18)), ("GB", "NWBK" + _digits(source, 14))))
    plain = "".join(str(int(c, 36)) for c in f"{body}{country}00")
    whole = f"{country}{98 - int(plain) % 97:02d}{body}"
    return source.choice((whole, " ".join(whole[i : i + 4] for i in range(0, len(whole), 4))))


def _ip(source: random.Random) -> str:
    return ".".join(str(source.randint(1, 254)) for _ in range(4))


def _ssn(source: random.Random) -> str:
    return f"{source.randint(100, 665)}-{source.randint(10, 99)}-{source.randint(1000, 9999)}"


_LETTERS = string.ascii_letters + string.digits
FORMS: dict[str, dict[str, Callable[[random.Random], str]]] = {
    "EMAIL": {"address": _email},
    "PHONE": {"US": _phone, "abroad": _abroad},
    "CARD": {"16 digits": _card},
    "IBAN": {"DE or GB": _iban},
    "IP": {"version 4": _ip, "version 6": lambda s: ":".join(_word(s, 4, "0123456789abcdef") for _ in range(8))},
    "SSN": {"US": _ssn},
    "SECRET": {
        "AWS key": lambda s: "AKIA" + _word(s, 16, string.ascii_uppercase + "234567"),
        "GitHub token": lambda s: "ghp_" + _word(s, 36, _LETTERS),
        "Slack token": lambda s: f"xoxb-{_digits(s, 12)}-{_digits(s, 12)}-{_word(s, 24, _LETTERS)}",
        "Stripe key": lambda s: "sk_live_" + _word(s, 24, _LETTERS),
        "JSON web token": lambda s: (
            f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ{_word(s, 13, _LETTERS)}In0.{_word(s, 43, _LETTERS)}"
        ),
        "URL with password": lambda s: f"https://{_word(s, 5)}:{_word(s, 12, _LETTERS)}@db.example.com/",
        "password = '...'": lambda s: f"password = '{_word(s, 10, _LETTERS)}'",
        "password in a sentence": lambda s: f"the password is {_word(s, 10, _LETTERS)}",
        "private key": lambda s: (
            "-----BEGIN PRIVATE KEY-----\n" + _word(s, 64, _LETTERS) + "\n-----END PRIVATE KEY-----"
        ),
    },
    "NAME": {
        "full name": lambda s: f"{s.choice(('Anna', 'Peter', 'Mei', 'Yusuf'))} {_word(s, 7).title()}",
        "home address": lambda s: f"{s.randint(1, 99)} {_word(s, 8).title()} Street, {_word(s, 7).title()}",
    },
    "none": {
        "date": lambda s: f"{s.randint(1, 28):02d}/{s.randint(1, 12):02d}/{s.randint(1950, 2030)}",
        "time": lambda s: f"{s.randint(0, 23)}:{s.randint(10, 59)}",
        "price": lambda s: f"${s.randint(1, 99)},{s.randint(100, 999)}.{s.randint(10, 99)}",
        "version": lambda s: f"version {s.randint(1, 9)}.{s.randint(0, 20)}.{s.randint(0, 20)}",
        "order number": lambda s: f"order {_digits(s, 8)}",
        "ISBN": lambda s: f"ISBN 978-{s.randint(0, 9)}-{_digits(s, 4)}-{_digits(s, 4)}-{s.randint(0, 9)}",
        "coordinates": lambda s: f"{s.randint(10, 80)}.{_digits(s, 5)}, {s.randint(10, 80)}.{_digits(s, 5)}",
        "years": lambda s: f"{s.randint(1800, 1900)}-{s.randint(1901, 2020)}",
        "commit": lambda s: f"commit {_word(s, 40, '0123456789abcdef')}",
        "UUID": lambda s: "-".join(_word(s, n, "0123456789abcdef") for n in (8, 4, 4, 4, 12)),
        "16 digits, no card": lambda s: _wrong(_luhn("9" + _digits(s, 14))),
        "handle": lambda s: f"@{_word(s, 9)}",
    },
}
"""Kind -> form -> how a value is made. What has no form of its own (``NAME``) stands here to show what is not found."""


def _wrong(number: str) -> str:
    return number[:-1] + str((int(number[-1]) + 5) % 10)
