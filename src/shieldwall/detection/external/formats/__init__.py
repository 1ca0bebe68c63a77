"""The formats of other products, one small module each."""
