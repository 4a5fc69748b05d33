"""The page for people, its viewer and uploads, and the service for X-ray images."""
