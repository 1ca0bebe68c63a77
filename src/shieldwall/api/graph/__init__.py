"""The security part of Microsoft Graph: the same alerts and incidents in its words and shapes."""
