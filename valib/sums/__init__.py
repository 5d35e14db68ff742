"""What a model needs of the students: formula, design, sums by school and cohort, in memory or streamed."""
