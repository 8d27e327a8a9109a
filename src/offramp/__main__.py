"""`python -m offramp`: the command line without an installed script."""

import sys

from offramp.cli.main import main

sys.exit(main())
