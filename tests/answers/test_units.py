"""Units behind a value, and what only looks like one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curr_reft.answers.units import split_unit


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("8m", "8", "m"),
        ("8 metres", "8", "m"),
        ("8 Meters", "8", "m"),
        ("8厘米", "8", "cm"),
        (r"20\sqrt {2}海里", r"20\sqrt {2}", "nmi"),
        ("96m^{2}", "96", "m^2"),
        ("96 square feet", "96", "ft^2"),
        ("96 sq. ft", "96", "ft^2"),
        ("5立方米", "5", "m^3"),
        ("5 cc", "5", "cm^3"),
        (r"35^{\circ}", "35", r"^\circ"),
        (r"35^\circ ", "35", r"^\circ"),
        ("35度", "35", r"^\circ"),
        (r"25^\circ C", "25", r"^\circ C"),
        ("45 radians", "45", "rad"),
        ("5 km/h", "5", "km/h"),
        ("5 kilometers per hour", "5", "km/h"),
        ("5米每秒", "5", "m/s"),
        ("5 mph", "5", "mi/h"),
        ("5 m/s^2", "5", "m/s^2"),
        ("5 L", "5", "L"),
        ("50 V", "50", "V"),
        ("50 mV", "50", "mV"),
        ("5 MW", "5", "MW"),
        (r"5 k\Omega ", "5", "kΩ"),
        (r"5 \mu F", "5", "μF"),
        ("5 inches", "5", "in"),
        ("3 days", "3", "day"),
        ("12 amu", "12", "amu"),
        ("$5", "5", "$"),
        (r"\$5", "5", "$"),
        ("5 dollars", "5", "$"),
        ("5元", "5", "元"),
        ("5 square units", "5", "unit^2"),
        (r"4\pi m", r"4\pi", "m"),
        (r"(3+\sqrt{2}) cm", r"(3+\sqrt{2})", "cm"),
        (r"6.6 \times 10^{-34} J", r"6.6 \times 10^{-34}", "J"),
        ("5 K", "5", "K"),
    ],
)
def test_a_unit_is_split_off(text, value, unit):
    assert split_unit(text) == (value, unit)


@pytest.mark.parametrize(
    "text",
    [
        *("", "5", "m", "cm", "2a", "2c", "2x", "5K", "5F", "5C", "x m", "n + m", "3+2m", r"4\pi h", "x cm"),
        *("5 apples", "5 kg^2", "5 g/h", "5 m/kg", "5 square kg", "5 square m^2", "5 per s", "$x", "5 + cm"),
        *(r"\sin m", "5 abcm", "5 percent", "(m)", "5 m m m/x"),
    ],
)
def test_no_unit(text):
    assert split_unit(text) == (text, None)


@given(st.text(alphabet="0123456789 .^{}()/\\+-mscgkhLNVAWJ°米元$", max_size=200))
def test_no_text_raises(text):
    value, unit = split_unit(text)
    assert unit is not None or value == text
