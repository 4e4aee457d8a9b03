"""leadcrm: the place where sales leads arrive over HTTP and are never lost."""

__version__ = "0.1.0"
