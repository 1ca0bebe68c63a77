"""The HTTP API after the Microsoft Defender for Endpoint contract."""
