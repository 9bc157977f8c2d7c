"""Result base class, charts, HTML pages, picture grids, progress bars; escapes untrusted text.

    result.table()                           # a pandas DataFrame
    result.plot()                            # an Altair chart
    result.save("folder")

A page is a Jinja template with everything inline, and opens without a network.
"""
