"""Numbers as a reader takes them in: 1.23M, 3 min 41 s, 4.2 Wh, 0.12 EUR."""

import math

__all__ = ["duration", "energy", "human", "money", "per_character"]


def human(value: float, _position: int | None = None) -> str:
    """`1234567` → `1.23M`; three digits are enough on an axis (which passes its position, too)."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def duration(seconds: float | None) -> str | None:
    """`221` → `3 min 41 s`, `7500` → `2 h 5 min`."""
    if seconds is None or not math.isfinite(seconds):
        return None

    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60} min"


def energy(kwh: float) -> str:
    """`0.0042` → `4.2 Wh`."""
    if kwh >= 1:
        return f"{kwh:.3g} kWh"
    return f"{kwh * 1000:.2g} Wh" if kwh * 1000 < 10 else f"{kwh * 1000:.0f} Wh"


def per_character(bits_per_byte: float, size: int, characters: int | None) -> float | None:
    """Bits per character of ``size`` bytes; None where nobody counted the characters."""
    return bits_per_byte * size / characters if characters else None


def money(amount: float | None, currency: str) -> str:
    """`0.12` → `0.12 EUR`."""
    if amount is None:
        return "–"
    return f"< 0.01 {currency}" if 0 < amount < 0.01 else f"{amount:,.2f} {currency}"
