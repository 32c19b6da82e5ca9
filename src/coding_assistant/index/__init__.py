"""The search index of one project: derived from the working tree, thrown away and rebuilt, never migrated."""
