"""The entry point, both from source (`python -m leadcrm`) and in the executable."""

import gc
import sys

# All that is imported stays. To look for garbage among it takes a tenth of the start.
gc.disable()

from leadcrm.cli import main  # noqa: E402
from leadcrm.process.parent_death import end_with_executable  # noqa: E402

if __name__ == "__main__":
    end_with_executable()
    sys.exit(main())
