"""How exposed the devices are: software, its vulnerabilities, configurations, baselines, and what to do."""
