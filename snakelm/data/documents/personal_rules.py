"""Personal data in text, found by form and check digits: e-mail addresses, telephone numbers, IP
addresses, card and bank account numbers.

Few false alarms matter more here than finding the last one, for a mask in the wrong place is a word
lost. So a number must look like one all around: version numbers are no addresses, digits in tables
and fractions no telephone numbers. Each rule says what it leaves out.

Telephone numbers are judged by Google's rules (phonenumberslite): a number is one when its country
assigns such numbers. Card numbers: ISO/IEC 7812 (Luhn). Bank accounts: ISO 13616 (mod 97).
"""

import functools
import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from .personal_numbers import iban_length, is_card, is_iban

__all__ = ["RULES", "Found", "find"]


class Found(NamedTuple):
    """A place in a text, of characters; ``nobodys``: an address that is kept for documentation."""

    kind: str
    start: int
    end: int
    nobodys: bool = False


Rule = Callable[[str, list[str]], Iterator[Found]]

EMAIL = re.compile(
    r"(?<![\w.+%@/'-])[A-Za-z0-9_][\w.+%'-]{0,63}@"
    r"((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}([A-Za-z]{2,12}))(?![\w@-]|\.\w|:\w)"
)
# Top-level domains besides those of countries. What else stands behind the last dot is more often
# an attribute or a file (icon@2x.png, a@b.shape) than one of the other thousand.
DOMAINS = """
com org net edu gov mil int info biz name pro museum aero coop jobs mobi travel tel cat asia app dev
tech online site xyz shop store blog cloud email live news space world team group agency academy
digital media network solutions systems software studio design expert eus gal swiss berlin london
paris wien global arpa test example invalid localhost local
"""
FILES = "py js md sh rs pl cc so ps"  # of two letters, and countries' as well
KNOWN_DOMAINS, KNOWN_FILES = frozenset(DOMAINS.split()), frozenset(FILES.split())
NOBODYS_MAIL = re.compile(
    r"(?:^|\.)(?:example|test|invalid|localhost|local)$|(?:^|\.)(?:example|domain)\.(?:com|org|net|edu)$"
)

OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
IPV4 = re.compile(rf"(?:(?<![\w.,:/+-])|(?<=//))(?:{OCTET}\.){{3}}{OCTET}(?![\w-]|\.\w)")
IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:]|\.\w)")
VERSION_BEFORE = re.compile(
    r"(?:\b(?:v|ver|version|versions|release|rev|revision|build|section|chapter|figure|table|"
    r"driver|firmware|update|upgrade|since|oid|versione|capitolo|версия|версии)\.?|§|[<>=~]=?)\s*$",
    re.IGNORECASE,
)
ADDRESS_BEFORE = re.compile(
    r"\b(?:ip|ips|ipv4|address|addresses|addr|host|server|client|dns|ping|gateway|peer|route|"
    r"inet|nameserver|indirizzo|adresse|адрес)\b[^.\n]{0,12}$|://$",
    re.IGNORECASE,
)
SMALL = 30  # four numbers up to this, or a first digit alone, look like a version or a section
BEFORE = 40  # characters that are looked at for such words

CARD = re.compile(
    r"(?<![\w.,/+-])(?<!\d[ ])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?"
    r"|\d{4}([ -])\d{6}\2\d{4,5})(?![\w-]|[.,]\d| \d)"
)
IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?= ?[A-Z0-9]{4})")

INTERNATIONAL = re.compile(r"(?<![\w+.@/-])\+[1-9](?:[ ().-]{0,2}\d){6,14}(?![\w]|[.,:]\d)")
NATIONAL = re.compile(r"(?<![\w+.,@/:-])\(?\d(?:[ ()./-]{0,2}\d){5,13}(?![\w]|[.,:]\d)")
DATE = re.compile(r"(?:19|20)\d\d([/.-])\d\d?\1\d\d?|\d\d?([/.-])\d\d?\2(?:19|20)\d\d")
PHONE_BEFORE = re.compile(
    r"(?:\b(?:tel|telephone|phone|phones|fax|telefono|cellulare|tél|téléphone|"
    r"telefon|handy|móvil|тел|телефон|факс|моб)\b|☎|📞)[^\d\n]{0,12}$",
    re.IGNORECASE,
)


def find(text: str, kinds: Sequence[str], regions: list[str]) -> list[Found]:
    """All that ``kinds`` find, in order; of two that overlap, the one that begins first, or stands
    first in RULES.
    """
    all_found = [one for kind in RULES if kind in kinds for one in RULES[kind](text, regions)]
    found: list[Found] = []
    for one in sorted(all_found, key=lambda one: one.start):
        if not found or one.start >= found[-1].end:
            found.append(one)
    return found


def emails(text: str, regions: list[str]) -> Iterator[Found]:
    """name@domain. Not: git@host:path, URLs with a password, attributes, file names."""
    if "@" not in text:
        return
    for match in EMAIL.finditer(text):
        last = match[2].lower()
        known = last in KNOWN_DOMAINS or (len(last) == 2 and last not in KNOWN_FILES)
        if known and not match[0].startswith("git@"):
            nobodys = bool(NOBODYS_MAIL.search(match[1].lower()))
            yield Found("email", match.start(), match.end(), nobodys)


def addresses(text: str, regions: list[str]) -> Iterator[Found]:
    """IPv4 and global IPv6 addresses. Not: versions, sections, times, MAC addresses, C++ scopes."""
    for match in IPV4.finditer(text):
        before = text[max(0, match.start() - BEFORE) : match.start()]
        parts = match[0].split(".")
        small = len(parts[0]) == 1 or all(int(part) <= SMALL for part in parts)
        if VERSION_BEFORE.search(before) or (small and not ADDRESS_BEFORE.search(before)):
            continue
        address = ipaddress.IPv4Address(match[0])
        nobodys = not address.is_global or address.is_multicast or parts[-1] == "0"  # a network
        yield Found("ip", *match.span(), nobodys)

    for match in IPV6.finditer(text) if ":" in text else []:
        try:
            nobodys = not ipaddress.IPv6Address(match[0]).is_global
        except ValueError:
            continue
        if match[0][0] in "23" and len(match[0].split(":")[0]) == 4:  # global ones (RFC 4291)
            yield Found("ip", *match.span(), nobodys)


def cards(text: str, regions: list[str]) -> Iterator[Found]:
    """Card numbers in one piece or in the groups they are printed in. Not: cells of a table."""
    for match in CARD.finditer(text):
        if is_card(re.sub(r"\D", "", match[0])):
            yield Found("card", *match.span())


def ibans(text: str, regions: list[str]) -> Iterator[Found]:
    """Bank accounts, in one piece or in groups of four."""
    for match in IBAN.finditer(text):
        length = iban_length(match[0][:2])
        if not length:
            continue
        account = _characters(length).match(text, match.start())
        if account and is_iban(account[0].replace(" ", "")):
            yield Found("iban", *account.span())


@functools.cache
def _characters(count: int) -> re.Pattern[str]:
    return re.compile(rf"(?:[A-Z0-9] ?){{{count - 1}}}[A-Z0-9](?![A-Za-z0-9])")


def phones(text: str, regions: list[str]) -> Iterator[Found]:
    """Numbers that a country assigns: +39 …, and national ones of ``regions`` behind a word such as
    tel. Not: a bare national number, which any table has.
    """
    import phonenumbers

    def assigned(number: str, region: str | None) -> bool:
        groups = re.findall(r"\d+", number)
        if DATE.fullmatch(number) or any(len(group) == 1 for group in groups[1:]):
            return False
        try:
            return phonenumbers.is_valid_number(phonenumbers.parse(number, region))
        except phonenumbers.NumberParseException:
            return False

    for match in INTERNATIONAL.finditer(text) if "+" in text else []:
        if assigned(match[0], None):
            yield Found("phone", *match.span())

    for match in NATIONAL.finditer(text) if regions else []:
        before = text[max(0, match.start() - BEFORE) : match.start()]
        if PHONE_BEFORE.search(before) and any(assigned(match[0], one) for one in regions):
            yield Found("phone", *match.span())


RULES: dict[str, Rule] = {
    "email": emails,
    "iban": ibans,
    "card": cards,
    "ip": addresses,
    "phone": phones,
}
