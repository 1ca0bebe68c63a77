"""What the server may ask a device to do: stop and quarantine files, restore them, collect a package."""
