"""How many examples a property is tried on, where the profile's number would not do.

The profiles are in ``conftest.py``: 50 examples by default, 2,000 in ``thorough``. A share of the
profile's number grows with it.
"""

from hypothesis import settings

costly = settings(max_examples=settings().max_examples // 4)
"""For a property whose every example writes files or a database, some tens of milliseconds."""
