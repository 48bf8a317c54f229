"""The networks that come with trtnn."""
