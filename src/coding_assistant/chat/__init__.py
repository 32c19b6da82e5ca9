"""A conversation about a project: kept, prompted, answered, cited."""
