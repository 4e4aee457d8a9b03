"""The entry point, both from source (`python -m leadcrm`) and in the executable."""

import sys

from leadcrm.cli import main
from leadcrm.process.parent_death import end_with_executable

if __name__ == "__main__":
    end_with_executable()
    sys.exit(main())
