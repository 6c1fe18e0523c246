"""`gateway release`: the releases of the appliance's image, and their keys."""
