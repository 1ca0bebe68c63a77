"""`python -m shieldwall_agent`"""

from shieldwall_agent.cli import main

raise SystemExit(main())
