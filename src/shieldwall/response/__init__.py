"""Machine actions: what is asked of devices, how it goes, and what comes back."""
