"""What every system uses: command line, results, tables, pages, sources. It imports no system."""
