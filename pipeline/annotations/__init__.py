"""Labels of posts without their texts, and their join with copies of the posts."""
