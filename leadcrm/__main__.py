"""The entry point, both from source (`python -m leadcrm`) and in the executable."""

import gc
import signal
import sys

# All that is imported stays. To look for garbage among it takes a tenth of the start.
gc.disable()
# Python drops an interrupt that comes at the wrong moment of an import: `main` lets it through once it has imported.
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))

from leadcrm.cli import main  # noqa: E402
from leadcrm.process.parent_death import end_with_executable  # noqa: E402

if __name__ == "__main__":
    end_with_executable()
    sys.exit(main())
