"""Curr-ReFT: curriculum reinforcement fine-tuning of small vision-language models."""

__version__ = "0.1.0"
