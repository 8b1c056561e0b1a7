"""What the pages show, computed: one call for each thing, plain arrays and tables out."""
