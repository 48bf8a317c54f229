"""What makes the site beside the pages of ``docs/``: pages of the code, and a look at the result in a browser."""
