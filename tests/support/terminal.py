"""Characters that a terminal obeys instead of showing them."""

OBEYED = "".join(
    map(
        chr,
        (
            *range(0x01, 0x20),
            *range(0x7F, 0xA0),
            *(0x061C, 0x200E, 0x200F),
            *range(0x2028, 0x202F),
            *range(0x2066, 0x206A),
        ),
    )
)
"""Control characters of ASCII and beyond, ends of lines, and those that turn the direction of what follows."""
