"""A stored study, for whoever looks at it. Nothing here makes a call, and nothing needs optuna.

domain/          objectives, members, paired comparisons, regressions: pure functions of records
queries/         the storage and the dataset read into records
study_report.py  the rows of a study -> its report
policies.py      ways to choose a member of the front
wording.py       numbers and limits as sentences
lookup.py        which study and which candidate are meant; pareto, compare and studies as functions
"""
