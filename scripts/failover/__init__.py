"""A cluster on loopback that fails over, and its trial."""
