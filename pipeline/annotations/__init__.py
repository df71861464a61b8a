"""Publishes the labels of posts without their texts, and joins them with copies of the posts."""
