"""What the tests share: real databases, real server processes, clients that keep a journal."""
