"""Check digits and lengths of card and bank account numbers.

Cards: the issuers' first digits and lengths, and Luhn's sum (ISO/IEC 7812). Bank accounts: the
country's length and the remainder by 97 (ISO 13616); a random number of that form passes once in
97.
"""

__all__ = ["iban_length", "is_card", "is_iban"]

# First digits from, to (inclusive) → lengths: Visa, Mastercard, American Express, Discover, JCB,
# Diners, UnionPay.
ISSUERS = [
    ("4", "4", {13, 16, 19}),
    ("51", "55", {16}),
    ("2221", "2720", {16}),
    ("34", "34", {15}),
    ("37", "37", {15}),
    ("6011", "6011", {16, 19}),
    ("644", "659", {16, 19}),
    ("3528", "3589", {16}),
    ("300", "305", {14}),
    ("36", "36", {14}),
    ("38", "39", {14}),
    ("62", "62", {16, 17, 18, 19}),
]

# Country → characters of its account numbers, by length.
LENGTHS = {
    15: "NO",
    16: "BE",
    18: "DK FI FK FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH CR HR LI LV",
    22: "BG BH DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
LENGTH_OF = {country: length for length, some in LENGTHS.items() for country in some.split()}


def is_card(digits: str) -> bool:
    """Whether an issuer has such numbers and the check digit fits."""
    if len(set(digits)) < 2:  # a pattern, whatever its sum
        return False
    issued = any(
        low <= digits[: len(low)] <= high and len(digits) in lengths
        for low, high, lengths in ISSUERS
    )
    return issued and _luhn(digits) == 0


def _luhn(digits: str) -> int:
    doubled = [int(digit) * 2 for digit in digits[-2::-2]]
    return (sum(map(int, digits[-1::-2])) + sum(n - 9 if n > 9 else n for n in doubled)) % 10


def iban_length(country: str) -> int | None:
    """Characters of the country's account numbers; None for one that has none."""
    return LENGTH_OF.get(country)


def is_iban(account: str) -> bool:
    """Whether the length is the country's and the check digits fit; no spaces in ``account``."""
    if len(account) != iban_length(account[:2]):
        return False
    digits = "".join(str(int(character, 36)) for character in account[4:] + account[:4])
    return int(digits) % 97 == 1
