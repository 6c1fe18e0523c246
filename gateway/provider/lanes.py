"""What a lane's sums are called in documents and tables."""

from __future__ import annotations

COLUMNS = {"import": "import_mwh", "export": "export_mwh", "power": "power_w", "count": "count"}
"""Of each lane the name of its sums: integers of mWh, of W summed over readings, and of readings."""
