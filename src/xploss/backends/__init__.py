"""What each library does in its own way: a file a library, a table that names them."""
