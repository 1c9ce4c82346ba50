"""`twokey demo`: a sample company on a real PostgreSQL, and the story of planner, executor and reviewer acted on it."""
