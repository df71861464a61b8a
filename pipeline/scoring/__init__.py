"""Files of posts to files of predictions: on one machine in processes that may die, or on Spark."""

from pipeline.scoring.job import Progress, score_files
from pipeline.scoring.options import Options
from pipeline.scoring.summary import FileSummary, Summary

__all__ = ["FileSummary", "Options", "Progress", "Summary", "score_files"]
