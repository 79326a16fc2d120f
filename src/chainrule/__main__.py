"""`python -m chainrule`: the command line without the installed script."""

import sys

from chainrule.cli import main

sys.exit(main())
