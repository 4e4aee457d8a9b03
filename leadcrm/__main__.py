"""The entry point, from source (`python -m leadcrm`) and frozen."""

import sys

from leadcrm.cli import main

if __name__ == "__main__":
    sys.exit(main())
