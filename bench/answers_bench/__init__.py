"""What bench/answers.py measures with: questions with required facts, five ways to ask, marks, tables."""
