"""A network or an engine as a page: :mod:`trtnn.viewer.facts` is what is shown, :mod:`trtnn.viewer.page` the page."""
