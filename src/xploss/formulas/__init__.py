"""The mathematics and nothing else: a file a loss, each a record of functions."""
