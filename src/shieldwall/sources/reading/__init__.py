"""Reading recordings: files, archives and bodies of requests, whatever their format, as JSON lines."""
