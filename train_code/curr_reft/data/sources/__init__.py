"""Rows of the released form from the public annotations that the paper names: a builder and command each."""
