"""A small project to ask about: a shop with sessions and prices."""

from pathlib import Path


def write_shop(folder: Path) -> Path:
    """Write the project into a folder of its own there, and return that."""
    root = folder / "shop"
    root.mkdir()
    (root / "sessions.py").write_text(
        '"""Sessions."""\n\n\ndef session_expired(session, now):\n'
        '    """A session ends after thirty minutes."""\n    return now - session.seen > 1800\n'
    )
    (root / "prices.py").write_text(
        "VAT_RATE = 0.19\n\n\ndef gross_price(net):\n    return net * (1 + VAT_RATE)\n"
    )
    return root
