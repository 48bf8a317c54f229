"""Source before it is text: trees of expressions, lines, and how these become text. Nothing here knows torch."""
