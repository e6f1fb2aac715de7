"""What runs and how: the stack as data, launch files, the pip runner and the gr2 command."""
