"""Who may ask, how much and how often; what browsers are told; who fetched what."""
