"""Open endpoint detection and response that speaks the Microsoft Defender for Endpoint API."""
