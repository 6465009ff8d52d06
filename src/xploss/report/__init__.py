"""What `python -m xploss` prints: the job, and what runs here and how exactly."""
