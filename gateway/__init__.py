"""The privacy gateway for home energy: reads meters, seals readings, opens only what is granted."""
