"""Numbers in, numbers out: Pareto fronts, hypervolume, the knee, intervals and paired tests.

Everything takes numpy arrays and returns numpy arrays, plain numbers or small records; nothing knows of studies, models
or money. Random draws take a `numpy.random.Generator`. Invariant: the same arrays in another row order give the same
answer.
"""

from offramp.stats.effects import explained_share
from offramp.stats.groups import effective_n, group_units
from offramp.stats.hypervolume import hypervolume
from offramp.stats.intervals import Interval, difference_interval, mean_interval, mean_interval_of, share_at_most
from offramp.stats.paired import NonInferiority, holm, holm_tests, non_inferiority, sign_flip_test, sign_test
from offramp.stats.pareto import knee, non_dominated
from offramp.stats.quantiles import quantile
from offramp.stats.repeats import noise_of_mean, repeat_variance

__all__ = [
    "Interval",
    "NonInferiority",
    "difference_interval",
    "effective_n",
    "explained_share",
    "group_units",
    "holm",
    "holm_tests",
    "hypervolume",
    "knee",
    "mean_interval",
    "mean_interval_of",
    "noise_of_mean",
    "non_dominated",
    "non_inferiority",
    "quantile",
    "repeat_variance",
    "share_at_most",
    "sign_flip_test",
    "sign_test",
]
