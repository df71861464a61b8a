"""Chooses the posts that people should label next, hands them over, and reads back what several annotators said."""
