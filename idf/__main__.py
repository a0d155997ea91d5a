import sys

from idf.commands import main

sys.exit(main())
