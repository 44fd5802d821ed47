"""What every room uses: errors, the command line, atomic writes, records of inputs, formatting."""
