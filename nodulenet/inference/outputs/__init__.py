"""Writers of answers, a module a format."""
