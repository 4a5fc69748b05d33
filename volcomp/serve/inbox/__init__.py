"""New instances: durably on disk, readable at once, packed into archives when their series is quiet."""
