"""Numbers in, numbers out: Pareto fronts, hypervolume, knees and intervals.

Everything takes numpy arrays and returns numpy arrays or plain numbers; nothing knows of studies, models or money.
Random draws take a `numpy.random.Generator`. Invariant: the same arrays in another row order give the same answer.
"""

from offramp.stats.hypervolume import hypervolume
from offramp.stats.intervals import Interval, bootstrap_mean, quantile, wilson
from offramp.stats.knee import knee
from offramp.stats.pareto import non_dominated, ranks

__all__ = ["Interval", "bootstrap_mean", "hypervolume", "knee", "non_dominated", "quantile", "ranks", "wilson"]
