"""Time series: what SQL cannot compute. The modules need numpy, so they are loaded when they are called."""
