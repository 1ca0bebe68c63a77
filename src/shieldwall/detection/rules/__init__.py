"""Detection rules: what they are, where they are kept, and what becomes of their hits."""
