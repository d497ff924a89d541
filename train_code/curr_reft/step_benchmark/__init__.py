"""What an optimizer step costs here and in TRL (`scripts/benchmark_step.py`)."""
