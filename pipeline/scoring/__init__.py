"""Score files of posts and write files of predictions, in processes on one machine or on Spark."""

from pipeline.scoring.job import Progress, score_files
from pipeline.scoring.options import Options
from pipeline.scoring.summary import FileSummary, Summary

__all__ = ["FileSummary", "Options", "Progress", "Summary", "score_files"]
