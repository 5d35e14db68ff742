"""One question a module: relative and benchmark value added, the shift, several cohorts, stability, change."""
