"""A recorded forward as statements: what is needed of it, under the author's names."""
