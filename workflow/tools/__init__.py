"""Tools for developers of this project; no part of the library."""
