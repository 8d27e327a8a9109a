"""Numbers in, numbers out: Pareto fronts, hypervolume, knees, intervals and paired tests.

Everything takes numpy arrays and returns numpy arrays, plain numbers or small records; nothing knows of studies, models
or money. Random draws take a `numpy.random.Generator`. Invariant: the same arrays in another row order give the same
answer.
"""

from offramp.stats.bootstrap import bootstrap_mean, paired_bootstrap
from offramp.stats.hypervolume import hypervolume
from offramp.stats.intervals import Interval, clopper_pearson, share_at_most, wilson
from offramp.stats.knee import knee
from offramp.stats.means import difference_interval, mean_interval, mean_interval_of
from offramp.stats.paired import NonInferiority, holm, non_inferiority, sign_flip_test, sign_test
from offramp.stats.pareto import non_dominated, ranks
from offramp.stats.quantiles import quantile

__all__ = [
    "Interval",
    "NonInferiority",
    "bootstrap_mean",
    "clopper_pearson",
    "difference_interval",
    "holm",
    "hypervolume",
    "knee",
    "mean_interval",
    "mean_interval_of",
    "non_dominated",
    "non_inferiority",
    "paired_bootstrap",
    "quantile",
    "ranks",
    "share_at_most",
    "sign_flip_test",
    "sign_test",
    "wilson",
]
