r"""Units as a table: their symbols, their English and their Chinese words, and taking one off a value.

The list is *ours*: lengths with their areas and volumes, angles, times, masses, speeds, electrical and force
units, a few more. What it does not hold is no unit (``2a`` is not 2).
"""

import functools
import re
from typing import NamedTuple

# Canonical symbol: further spellings. English words take a plural s.
_LENGTHS = {
    "km": "kilometer kilometre 千米 公里 Km KM",
    "m": "meter metre 米",
    "dm": "decimeter decimetre 分米",
    "cm": "centimeter centimetre 厘米 公分 Cm CM",
    "mm": "millimeter millimetre 毫米 MM",
    "μm": "micrometer micrometre micron 微米",
    "nm": "nanometer nanometre 纳米",
    "in": "inch inches 英寸",
    "ft": "foot feet 英尺",
    "yd": "yard 码",
    "mi": "mile 英里",
    "nmi": "nautical_mile sea_mile 海里",
    "unit": "单位 个单位",
}
_TIMES = {
    "h": "hr hrs hour 小时 时",
    "min": "mins minute 分钟 分",
    "s": "sec secs second 秒 秒钟",
    "ms": "millisecond 毫秒",
    "μs": "microsecond 微秒",
    "ns": "nanosecond 纳秒",
    "day": "天",
    "week": "周 星期",
    "month": "个月",
    "yr": "year 年",
}
_ANGLES = {r"^\circ": "deg degree 度", "rad": "radian 弧度"}
_MASSES = {
    "kg": "kilogram kilogramme 千克 公斤 Kg KG",
    "g": "gram gramme 克",
    "mg": "milligram 毫克",
    "ton": "tonne 吨",
    "lb": "lbs pound 磅",
    "oz": "ounce 盎司",
    "amu": "atomic_mass_unit 原子质量单位",
}
_VOLUMES = {
    "L": "l liter litre 升",
    "mL": "ml ML milliliter millilitre 毫升",
    "cm^3": "cc",
    "gal": "gallon 加仑",
}
_OTHERS = {
    "V": "volt 伏 伏特",
    "mV": "millivolt 毫伏",
    "kV": "kilovolt 千伏",
    "A": "amp ampere 安 安培",
    "mA": "milliamp milliampere 毫安",
    "μA": "microamp microampere 微安",
    "Ω": "ohm 欧 欧姆",
    "kΩ": "kiloohm kilohm 千欧",
    "MΩ": "megaohm megohm 兆欧",
    "W": "watt 瓦 瓦特",
    "kW": "kilowatt 千瓦",
    "MW": "megawatt 兆瓦",
    "mW": "milliwatt 毫瓦",
    "J": "joule 焦 焦耳",
    "kJ": "kilojoule 千焦",
    "eV": "electronvolt 电子伏特",
    "kWh": "kilowatt-hour kilowatt_hour 千瓦时",
    "F": "farad 法拉",
    "μF": "microfarad 微法",
    "nF": "nanofarad 纳法",
    "pF": "picofarad 皮法",
    "C": "coulomb 库仑",
    "μC": "microcoulomb 微库",
    "mH": "millihenry millihenries 毫亨",
    "N": "newton 牛 牛顿",
    "kN": "kilonewton 千牛",
    "Hz": "hertz 赫兹",
    "kHz": "kilohertz 千赫",
    "MHz": "megahertz 兆赫",
    "GHz": "gigahertz 吉赫",
    "Pa": "pascal 帕 帕斯卡",
    "kPa": "kilopascal 千帕",
    "MPa": "megapascal 兆帕",
    "mPa": "millipascal 毫帕",
    r"^\circ C": "℃ degree_celsius degrees_celsius 摄氏度",
    r"^\circ F": "℉ degree_fahrenheit degrees_fahrenheit 华氏度",
    "K": "kelvin 开尔文",
    "mi/h": "mph",
    "$": r"\$ dollar USD 美元",
    "元": "yuan RMB CNY 块",
}
_GLUED_LETTERS = "mgshLNVAWJ"
"""The single letters that are units right behind a number; others there are variables."""
_POWERS = {
    "square": "2",
    "sq": "2",
    "sq.": "2",
    "平方": "2",
    "cubic": "3",
    "cu": "3",
    "cu.": "3",
    "立方": "3",
}

_ATOM = r"\d!.|\s*/^(){}\[\]"
_PRODUCT = re.compile(rf"[+-]?(?:\\(?:[dt]?frac|sqrt|pi|times|cdot)(?![A-Za-z])|\^\{{-|[{_ATOM}])*+")
_SUM = re.compile(rf"(?:\\(?:[dt]?frac|sqrt|pi|times|cdot)(?![A-Za-z])|[{_ATOM}+-])*+")
_ENDS_IN_A_VALUE = re.compile(r"(?:[\d.)}!]|\\pi)\s*\Z")
_CIRCLE = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)\s*")
_OMEGA, _MU = re.compile(r"Ω|\\Omega\s*"), re.compile(r"µ|\\mu\s*")  # signs of their own in Unicode


class Quantity(NamedTuple):
    """A value, and the canonical symbol of its unit where it has one."""

    value: str
    unit: str | None


def split_unit(text: str) -> Quantity:
    r"""A number, root or product of them in LaTeX, apart from the unit behind it or the ``$`` before it.

    A text in which something else stands before the unit (``n + m``) has none. A single letter is a unit
    behind one product only (``3 + 2m`` is a sum), and glued to it only if it is one of ten.
    """
    none = Quantity(text, None)
    if text.startswith(("$", r"\$")):
        value = text.lstrip("\\$ ")
        return Quantity(value, "$") if _is_value(value, _SUM) else none
    text = _MU.sub("μ", _OMEGA.sub("Ω", _CIRCLE.sub(r"^\\circ ", text)))
    found = _at_the_end().search(text)
    unit = _canonical(found) if found else None
    if unit is None:
        return none
    before = text[: found.start()]
    value = before.rstrip()
    if len(found[0].strip()) == 1 and found[0].isascii() and found[0].strip().isalpha():
        is_glued = value == before
        is_variable = is_glued and found[0].strip() not in _GLUED_LETTERS
        is_variable |= value.endswith(r"\pi") and unit != "m"
        return none if is_variable or not _is_value(value, _PRODUCT) else Quantity(value, unit)
    return Quantity(value, unit) if _is_value(value, _SUM) else none


def _is_value(text: str, pattern: re.Pattern[str]) -> bool:
    return bool(pattern.fullmatch(text) and _ENDS_IN_A_VALUE.search(text))


def _canonical(found: re.Match[str]) -> str | None:
    """The symbol of a unit as written: powers are of lengths, rates are lengths or angles over times."""
    base, time = _symbol(found["base"]), _symbol(found["time"] or "")
    powers = (_POWERS.get((found["power"] or "").casefold()), (found["exponent"] or "").strip("^{} "))
    power = next(filter(None, powers), "")
    if (power and base not in _LENGTHS) or all(powers):
        return None
    if found["time"] is None:
        return f"{base}^{power}" if power else base
    time_power = (found["time_exponent"] or "").strip("^{} ")
    if power or time not in _TIMES or base not in (*_LENGTHS, *_ANGLES) or time_power not in ("", "2"):
        return None
    return f"{base}/{time}^2" if time_power else f"{base}/{time}"


def _symbol(spelled: str) -> str | None:
    words = " ".join(spelled.split())
    lower = words.casefold()
    found = (_spellings().get(word) for word in (words, lower, lower.removesuffix("s")))
    return next(filter(None, found), None)


@functools.cache
def _spellings() -> dict[str, str]:
    """The canonical symbol of every spelling."""
    tables = (_LENGTHS, _TIMES, _ANGLES, _MASSES, _VOLUMES, _OTHERS)
    return {
        word.replace("_", " "): symbol
        for table in tables
        for symbol, more in table.items()
        for word in (symbol.strip(), *more.split())
    }


@functools.cache
def _at_the_end() -> re.Pattern[str]:
    """A unit at the end of a text, the longest one."""

    def pattern(word: str) -> str:
        escaped = re.escape(word).replace(r"\ ", r"\s*")
        is_word = word.replace(" ", "").isalpha() and word.isascii() and word.islower() and len(word) > 2
        return f"(?i:{escaped}s?)" if is_word else escaped

    base = "|".join(map(pattern, sorted(_spellings(), key=len, reverse=True)))
    powers = "|".join(map(re.escape, sorted(_POWERS, key=len, reverse=True)))
    exponent = r"\s*\^\s*(?:[23](?!\d)|\{\s*[23]\s*\})"
    return re.compile(
        rf"(?<![A-Za-z\\])(?:(?P<power>(?i:{powers}))\s*)?(?P<base>{base})(?P<exponent>{exponent})?"
        rf"(?:\s*(?:/|\bper\b|每)\s*(?P<time>{base})(?P<time_exponent>{exponent})?)?\s*\Z"
    )
