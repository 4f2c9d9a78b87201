"""Ray: the only room that imports it. Each role of the lower floors becomes an actor; Tune runs the trainings."""

import os

# Ray reads these when it is imported. The first is set explicitly because a driver and a cluster that disagree on it
# cannot talk; Ctrl-C must reach us, where Tune's own handler would only ask its loop to stop some time.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
# A trial that failed tells the supervisor, and has no metric for Tune.
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
# The newer progress display of Tune prints even when it is told not to.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
