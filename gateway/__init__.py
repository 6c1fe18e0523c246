"""The privacy gateway for home energy: reads meters, seals readings, opens only what is granted."""

__version__ = "0.1.0"
